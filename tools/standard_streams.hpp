/// stdin, stdout and stderr as a tool finds them.
#pragma once

#include <string>

namespace zl {

/// A tool that was started with a closed stdin, stdout or stderr would get that number for the next
/// file it opens, and write its payload or messages into it. Opened so that using it fails.
void occupy_standard_descriptors();

bool is_pipe(int fd);

/// Throw usage if stdout/stdin is a terminal: binary data is neither written to nor read from one.
/// @p way_out completes the hint, such as "pipe it into zl-push, or use -o FILE".
void refuse_terminal_stdout(const std::string& way_out);
void refuse_terminal_stdin(const std::string& way_out);

} // namespace zl
