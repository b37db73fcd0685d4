#include "standard_streams.hpp"

#include "base/error.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace zl {

void occupy_standard_descriptors() {
    for (int fd = 0; fd <= 2; ++fd)
        if (::fcntl(fd, F_GETFD) < 0 && errno == EBADF) [[maybe_unused]]
            int ignored = ::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

bool is_pipe(int fd) {
    struct stat status {};
    return ::fstat(fd, &status) == 0 && (S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode));
}

void refuse_terminal_stdout(const std::string& way_out) {
    if (::isatty(STDOUT_FILENO) == 1)
        throw Error(ErrorKind::usage, "stdout is a terminal and the output is binary", way_out);
}

void refuse_terminal_stdin(const std::string& way_out) {
    if (::isatty(STDIN_FILENO) == 1)
        throw Error(ErrorKind::usage, "stdin is a terminal, expected a layer stream", way_out);
}

} // namespace zl
