/// What every zl tool does around its own work: options, signals, messages, progress, metrics, exit
/// code. A main() is: declare options into a struct, `return run_tool(argc, argv, spec, body)`.
#pragma once

#include "common_options.hpp"
#include "console.hpp"
#include "metrics.hpp"
#include "options.hpp"
#include "progress.hpp"
#include "standard_streams.hpp"
#include "store/object_store.hpp"

#include <functional>
#include <memory>
#include <stop_token>
#include <string>

namespace zl {

/// Exit codes that are no failure (failures: ErrorKind, see exit_code()).
inline constexpr int kExitOk = 0;
inline constexpr int kExitNo = 1;         ///< the question asked is answered "no"
inline constexpr int kExitIncomplete = 3; ///< committed, but incomplete

struct ToolSpec {
    std::string name;        ///< `zl-push`
    bool uses_store = false; ///< takes --store and its kin
    bool has_result = false; ///< takes --json
    /// stdout is not the payload: draws progress although it may be a pipe.
    bool last_stage = false;
    /// Usage, examples, own options and operands.
    std::function<void(Options&)> declare;
};

/// What the body works with. Lives until run_tool returns.
class ToolContext {
public:
    virtual ~ToolContext() = default;
    virtual const CommonSettings& settings() const = 0;
    virtual const Options& options() const = 0;
    virtual Log& log() = 0;
    virtual Progress& progress() = 0;
    virtual Metrics& metrics() = 0;
    /// Fires on SIGINT, SIGTERM, SIGHUP and --timeout. Work that then throws Interrupted ends with
    /// 128+n or 75.
    virtual std::stop_token stop() const = 0;
    /// The store of --store, with --retry-for, --timeout and --bwlimit. Throws config and what
    /// zl::open_store throws. @p recorded: this URL instead of --store (what an earlier run wrote
    /// down). Valid as long as this context.
    virtual std::unique_ptr<ObjectStore> open_store(int connections = 16,
                                                    const std::string& recorded = {}) = 0;
    /// The same for a daemon, which has its own patience and its own end.
    virtual std::unique_ptr<ObjectStore> open_store(int connections, Millis retry_for,
                                                    std::stop_token stop) = 0;
    /// --state-dir, created with mode 0700. Throws exists (73) with a hint if that fails.
    virtual std::string state_dir() = 0;
    /// The result, to stdout, with a line feed. Throws BrokenPipe, io.
    virtual void print(const std::string& line) = 0;

    // For daemons.
    /// Signals::hand_over and take_back.
    virtual int hand_over_signals(const std::vector<int>& signals,
                                  std::function<void(int)> on_signal) = 0;
    virtual void take_back_signals() = 0;
    /// No more progress() is shown: what follows has no end that could be neared.
    virtual void end_progress() = 0;
    /// One line that is shown at every level (SIGUSR1).
    virtual void report_line(std::string_view event, std::string_view text, const Json& fields) = 0;
    /// Replace --metrics by the values set so far, as of a run that goes on. What fails is warned
    /// of.
    virtual void write_metrics() = 0;
    /// This run only asks: the file of --metrics is another run's.
    virtual void leave_metrics() = 0;
};

/// Runs @p body with everything around it and returns the exit code; Ctrl-C at a terminal ends the
/// process by SIGINT. Metrics are written on every way out but a second signal.
int run_tool(int argc, char** argv, const ToolSpec& spec,
             const std::function<int(ToolContext&)>& body);

int exit_code(ErrorKind kind);

} // namespace zl
