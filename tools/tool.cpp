#include "tool.hpp"

#include "base/file.hpp"
#include "base/handle.hpp"
#include "signals.hpp"
#include "stream/stream.hpp"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <new>
#include <optional>
#include <system_error>
#include <utility>

namespace zl {

namespace {

/// Ctrl-C goes to the whole pipeline: the cut stream of a producer that it ended may be seen before
/// our own signal is.
constexpr Millis kSignalDelay{200};

void write_stdout(const std::string& text) {
    FdSink(STDOUT_FILENO, "stdout").write(as_bytes(text));
}

class Tool final : public ToolContext {
public:
    explicit Tool(const ToolSpec& spec)
        : spec_(spec), outside_(Outside::of_process()), console_(spec.name, STDERR_FILENO),
          display_(console_), metrics_(spec.name), options_(spec.name) {
        console_.on_retry([this](const RetryNotice& notice) { display_.retrying(notice); });
    }

    int run(std::vector<std::string> arguments, const std::function<int(ToolContext&)>& body);

    const CommonSettings& settings() const override { return settings_; }
    const Options& options() const override { return options_; }
    Log& log() override { return console_; }
    Progress& progress() override { return display_; }
    Metrics& metrics() override { return metrics_; }
    std::stop_token stop() const override { return signals_->token(); }
    std::unique_ptr<ObjectStore> open_store(int connections, const std::string& recorded) override;
    std::unique_ptr<ObjectStore> open_store(int connections, Millis retry_for,
                                            std::stop_token stop) override;
    std::string state_dir() override;
    void print(const std::string& line) override {
        console_.aside([&] { write_stdout(line + "\n"); });
    }
    int hand_over_signals(const std::vector<int>& signals,
                          std::function<void(int)> on_signal) override {
        return signals_->hand_over(signals, std::move(on_signal));
    }
    void take_back_signals() override { signals_->take_back(); }
    void end_progress() override { display_.stop(); }
    void report_line(std::string_view event, std::string_view text, const Json& fields) override {
        console_.line(event, text, fields);
    }
    void write_metrics() override { write_metrics({started_, now_wall(), 0, true}); }
    void leave_metrics() override { settings_.metrics.clear(); }

private:
    std::unique_ptr<ObjectStore> open(const std::string& recorded, StoreOptions options);
    int guarded(std::vector<std::string> arguments, const std::function<int(ToolContext&)>& body);
    int work(std::vector<std::string> arguments, const std::function<int(ToolContext&)>& body);
    int fail(Error error);
    int interrupted();
    void apply_settings();
    void write_metrics(const Metrics::Run& run);
    bool talks() const { return settings_.verbose > 0 && !settings_.quiet; }

    const ToolSpec& spec_;
    Outside outside_;
    Console console_;
    ProgressDisplay display_;
    Metrics metrics_;
    Options options_;
    CommonSettings settings_;
    std::optional<Signals> signals_;
    TimePoint started_ = now_wall();
    int interrupted_by_ = 0; ///< the signal that ended the work
    bool default_told_ = false;
    std::string metrics_warning_; ///< the last: a daemon shall not repeat it
};

int Tool::run(std::vector<std::string> arguments, const std::function<int(ToolContext&)>& body) {
    const int code = guarded(std::move(arguments), body);
    display_.stop();
    write_metrics({started_, now_wall(), code});
    if (signals_ && talks()) {
        const Millis took = now_wall() - started_;
        console_.line("ended", "exit " + std::to_string(code) + " after " + format_duration(took),
                      {{"exit", code}, {"seconds", static_cast<double>(took.count()) / 1000}});
    }
    signals_.reset();
    if (interrupted_by_ == SIGINT && in_foreground_of_terminal())
        end_by_signal(SIGINT);
    return code;
}

int Tool::guarded(std::vector<std::string> arguments,
                  const std::function<int(ToolContext&)>& body) {
    try {
        return work(std::move(arguments), body);
    } catch (const Interrupted&) {
        return interrupted();
    } catch (const BrokenPipe&) {
        return 128 + SIGPIPE;
    } catch (const Error& e) {
        // A library may report the broken-off request rather than the stop that broke it off.
        const bool may_be = e.kind() == ErrorKind::transient || e.kind() == ErrorKind::data;
        const Millis patience = e.kind() == ErrorKind::data ? kSignalDelay : Millis(0);
        return may_be && signals_ && signals_->caught_within(patience) ? interrupted() : fail(e);
    } catch (const std::bad_alloc&) {
        return fail(Error(ErrorKind::io, "out of memory", "use fewer --jobs or --threads"));
    } catch (const std::system_error& e) {
        if (e.code() == std::errc::resource_unavailable_try_again) // of a std::thread, and tells no more
            return fail(Error(ErrorKind::io, std::string("no thread could be started: ") + e.what(),
                              "raise the limit of processes: ulimit -u, a container's pids limit"));
        return fail(Error(ErrorKind::io, e.what()));
    } catch (const std::exception& e) {
        return fail(Error(ErrorKind::internal, e.what()));
    } catch (...) {
        return fail(Error(ErrorKind::internal, "unknown exception"));
    }
}

int Tool::work(std::vector<std::string> arguments, const std::function<int(ToolContext&)>& body) {
    options_.group("Options");
    if (spec_.declare)
        spec_.declare(options_);
    if (spec_.uses_store)
        declare_store_options(options_, settings_, outside_.environment);
    declare_common_options(options_, settings_, spec_.has_result);

    auto outcome = Options::Outcome::run;
    {
        // Also after a bad option: its message obeys the log format, the metrics have their name.
        Finally apply([this] { apply_settings(); });
        outcome = options_.parse(std::move(arguments), outside_);
    }
    for (const std::string& warning : options_.warnings())
        console_.warn(warning);
    switch (outcome) {
    case Options::Outcome::help:
        write_stdout(options_.help_text());
        break;
    case Options::Outcome::version:
        print(version_line(spec_.name));
        break;
    case Options::Outcome::print_config:
        write_stdout(options_.config_text());
        break;
    case Options::Outcome::print_options:
        write_stdout(options_.options_text());
        break;
    case Options::Outcome::run:
        signals_.emplace([this] { display_.show_now(); }, settings_.timeout);
        if (talks())
            console_.line("started", "version " ZL_VERSION, {{"version", ZL_VERSION}});
        return body(*this);
    }
    settings_.metrics.clear(); // nothing was run
    return kExitOk;
}

void Tool::apply_settings() {
    const bool json = settings_.log_format == "json";
    LogLevel shown = LogLevel::warning;
    if (settings_.quiet)
        shown = LogLevel::error;
    else if (settings_.verbose > 0)
        shown = settings_.verbose == 1   ? LogLevel::info
                : settings_.verbose == 2 ? LogLevel::debug
                                         : LogLevel::trace;
    console_.configure(json ? LogFormat::json : LogFormat::text, shown);
    metrics_.set_name(options_.value("name"));

    const std::string term = outside_.environment("TERM").value_or("");
    const bool may_draw = !json && console_.is_terminal() && !term.empty() && term != "dumb";
    auto progress = progress_setting(settings_.progress, settings_.quiet, may_draw,
                                     spec_.last_stage || !is_pipe(STDOUT_FILENO));
    display_.start(progress.mode, progress.interval);
}

int Tool::fail(Error error) {
    const int code = exit_code(error.kind());
    if (error.hint().empty()) {
        if (error.kind() == ErrorKind::usage)
            error.with_hint("try '" + spec_.name + " --help'");
        else if (error.kind() == ErrorKind::transient)
            error.with_hint("this may pass: run the same command again");
        else if (error.kind() == ErrorKind::internal)
            error.with_hint("this is a bug in zl; please report it with the command that led here");
    }
    display_.stop();
    console_.failure(error, code);
    return code;
}

int Tool::interrupted() {
    if (signals_ && signals_->caught() != 0) {
        interrupted_by_ = signals_->caught();
        return 128 + interrupted_by_;
    }
    if (signals_ && signals_->timed_out())
        return fail(Error(ErrorKind::transient,
                          "not done after --timeout " + exact_duration(settings_.timeout),
                          "run it again, with a longer --timeout"));
    return fail(Error(ErrorKind::transient, "interrupted", "run it again"));
}

void Tool::write_metrics(const Metrics::Run& run) {
    if (settings_.metrics.empty())
        return;
    if (spec_.uses_store)
        metrics_.set("zl_retries_total", static_cast<double>(display_.retries()),
                     "Requests to the store that were made again, in this run.");
    try {
        metrics_.write(settings_.metrics, run);
    } catch (const std::exception& e) {
        // What the run did stands, whether or not it can be measured.
        std::string warning = std::string("metrics are not written: ") + e.what();
        if (std::exchange(metrics_warning_, warning) != warning)
            console_.warn(warning);
    }
}

std::unique_ptr<ObjectStore> Tool::open_store(int connections, const std::string& recorded) {
    StoreOptions options;
    options.retry_for = settings_.retry_for;
    options.timeout = settings_.timeout;
    options.connections = connections;
    options.stop = stop();
    return open(recorded, std::move(options));
}

std::unique_ptr<ObjectStore> Tool::open_store(int connections, Millis retry_for,
                                              std::stop_token end) {
    StoreOptions options;
    options.retry_for = std::min(retry_for, settings_.retry_for);
    options.connections = connections;
    options.stop = std::move(end);
    return open({}, std::move(options));
}

std::unique_ptr<ObjectStore> Tool::open(const std::string& recorded, StoreOptions options) {
    const std::string& text = recorded.empty() ? settings_.store : recorded;
    if (text.empty())
        throw Error(ErrorKind::config, "no store: HOME is not set", "set --store or ZL_STORE");
    StoreUrl url = StoreUrl::parse(text);
    auto overridden = [&](std::initializer_list<const char*> names) {
        for (const char* name : names)
            if (!outside_.environment(name).value_or("").empty())
                return true;
        return false;
    };
    // AWS_* stands below our options and variables, but above our configuration files.
    if (recorded.empty() && options_.from_config("store")) {
        if (overridden({"AWS_REGION", "AWS_DEFAULT_REGION"}))
            url.region.clear();
        if (overridden({"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"}))
            url.endpoint.clear();
        if (overridden({"AWS_PROFILE"}))
            url.profile.clear();
    }
    if (recorded.empty() && !options_.given("store") && !std::exchange(default_told_, true))
        console_.notice("no --store given, using " + settings_.store);
    options.bwlimit = settings_.bwlimit;
    options.environment = outside_.environment;
    return zl::open_store(url, options, console_);
}

std::string Tool::state_dir() {
    const char* hint = "set --state-dir or ZL_STATE_DIR to a directory that can be written";
    if (settings_.state_dir.empty())
        throw Error(ErrorKind::config, "no state directory: HOME is not set", hint);
    try {
        make_dirs(settings_.state_dir, 0700);
    } catch (Error& e) {
        throw e.with_kind(ErrorKind::exists).add_context("state directory").with_hint(hint);
    }
    return settings_.state_dir;
}

} // namespace

int exit_code(ErrorKind kind) {
    switch (kind) {
    case ErrorKind::usage:
        return 64;
    case ErrorKind::data:
        return 65;
    case ErrorKind::not_found:
        return 66;
    case ErrorKind::internal:
        return 70;
    case ErrorKind::exists:
        return 73;
    case ErrorKind::io:
        return 74;
    // Answers that a caller in the library should have dealt with: the next run asks again.
    case ErrorKind::conflict:
    case ErrorKind::gone:
    case ErrorKind::transient:
        return 75;
    case ErrorKind::fenced:
        return 76;
    case ErrorKind::denied:
        return 77;
    case ErrorKind::unsupported: // asking again cannot help: another store or setting can
    case ErrorKind::config:
        return 78;
    }
    return 70;
}

int run_tool(int argc, char** argv, const ToolSpec& spec,
             const std::function<int(ToolContext&)>& body) {
    occupy_standard_descriptors();
    survive_sigpipe();
    return Tool(spec).run(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc), body);
}

} // namespace zl
