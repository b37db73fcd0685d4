/// How far a task is: counting, the text of the line, and when it is shown.
#pragma once

#include "base/report.hpp"
#include "base/units.hpp"
#include "console.hpp"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>

namespace zl {

/// Counts and makes the line. Thread-safe; the clock is the caller's.
class ProgressMeter {
public:
    using Clock = std::chrono::steady_clock;

    void begin(std::string_view phase, std::optional<std::uint64_t> total, Clock::time_point now);
    void advance(std::int64_t bytes);
    void items(std::uint64_t done, std::uint64_t total);
    /// Shown until bytes move again, or the next attempt must have ended.
    void retrying(const RetryNotice& notice, Clock::time_point now);
    std::uint64_t retries() const;
    /// Remember where we are: the rate is that of the last ten seconds.
    void sample(Clock::time_point now);

    /// `uploading 12.3 MiB of 30.5 GiB, 0%, 85.1 MiB/s, ETA 4m10s, parts 2/977, retries 1`; while
    /// the store does not take anything `uploading 12.3 MiB of 30.5 GiB, 0%, 503 SlowDown, retrying
    /// for 8m30s more`. What matters least is left out where @p width is too small.
    std::string line(Clock::time_point now, std::size_t width = SIZE_MAX) const;
    /// The same as numbers, for JSON lines.
    Json fields(Clock::time_point now) const;
    /// There is something to show.
    bool started() const;

private:
    struct Sample {
        Clock::time_point time;
        std::int64_t bytes;
    };
    struct Waiting {
        std::string why;
        Clock::time_point until; ///< given up then
        Clock::time_point stale; ///< the attempt that follows has ended by then
        std::int64_t bytes;      ///< when it failed
    };
    double rate(Clock::time_point now) const;
    bool is_waiting(Clock::time_point now) const {
        return waiting_ && bytes_ <= waiting_->bytes && now < waiting_->stale;
    }
    Millis patience(Clock::time_point now) const;
    std::string time_left(double speed) const;

    mutable std::mutex mutex_;
    std::string phase_;
    std::optional<std::uint64_t> total_;
    std::int64_t bytes_ = 0;
    std::uint64_t items_done_ = 0, items_total_ = 0;
    std::deque<Sample> samples_;
    std::optional<Waiting> waiting_;
    std::uint64_t retries_ = 0;
};

enum class ProgressMode {
    silent, ///< only when asked by show_now()
    drawn,  ///< one line on the terminal, at most 5 times a second
    lines,  ///< one plain line per interval
};

/// Shows a meter on the console from a thread of its own, so that a stalled transfer is seen too.
class ProgressDisplay final : public Progress {
public:
    explicit ProgressDisplay(Console& console) : console_(console) {}
    ~ProgressDisplay() override { stop(); }

    /// Once, before begin(). @p interval for lines.
    void start(ProgressMode mode, Millis interval);
    /// Ends the thread and takes the drawn line away.
    void stop();
    /// One line at once, whatever the mode (SIGUSR1).
    void show_now();

    void begin(std::string_view phase, std::optional<std::uint64_t> total_bytes) override;
    void advance(std::int64_t bytes) override { meter_.advance(bytes); }
    void items(std::uint64_t done, std::uint64_t total) override { meter_.items(done, total); }
    void retrying(const RetryNotice& notice);
    std::uint64_t retries() const { return meter_.retries(); }

private:
    void run(std::stop_token stop);
    void tick();

    Console& console_;
    ProgressMeter meter_;
    ProgressMode mode_ = ProgressMode::silent;
    Millis interval_{0};
    std::mutex mutex_;
    std::condition_variable_any wake_;
    std::jthread thread_;
};

/// What --progress, the terminal and the place in the pipeline come to.
struct ProgressSetting {
    ProgressMode mode = ProgressMode::silent;
    Millis interval{0};
};
/// @p text `auto`, `never`, `always` or an interval (throws usage). @p may_draw: stderr is a
/// terminal that can, and messages are text; @p last_stage: no other tool behind us draws.
ProgressSetting progress_setting(const std::string& text, bool quiet, bool may_draw,
                                 bool last_stage);

} // namespace zl
