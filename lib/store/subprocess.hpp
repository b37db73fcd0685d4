/// Runs one shell command and collects what it prints: for credential_process only.
#pragma once

#include "base/units.hpp"

#include <stop_token>
#include <string>

namespace zl {

struct ProcessResult {
    bool finished = false; ///< false: killed at the time limit
    int status = 0;        ///< exit status; 128 + n for signal n
    std::string output;    ///< stdout; stderr is ours, stdin is /dev/null
};

/// Throws Interrupted (the command is killed), io, data beyond @p max_output bytes.
ProcessResult run_shell(const std::string& command, Millis limit, std::size_t max_output,
                        const std::stop_token& stop);

} // namespace zl
