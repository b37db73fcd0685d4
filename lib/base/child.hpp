/// A child process whose stdout we read (`zl-push -- CMD ARG...`).
#pragma once

#include "base/file.hpp"

#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include <sys/types.h>

namespace zl {

class Child {
public:
    /// Runs @p argv (looked up in PATH) with its stdout on a pipe; stdin and stderr are ours. Signals
    /// are as at our own start, not as we set them. Throws not_found/denied if it cannot be run.
    explicit Child(const std::vector<std::string>& argv);
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    /// Still running: SIGTERM, then SIGKILL after two seconds; reaped in any case.
    ~Child();

    int stdout_fd() const { return out_.get(); }
    /// Wait for its end, which may be long after that of its stdout: exit code, or 128+n when
    /// signal n ended it. Throws Interrupted.
    int wait(const std::stop_token& stop);
    /// The same, for at most @p milliseconds; nullopt: it is still running.
    std::optional<int> wait_for(int milliseconds);

private:
    pid_t pid_ = -1;
    UniqueFd out_;
};

} // namespace zl
