#include "ship_pulse.hpp"

#include "base/shown.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

namespace zl {

namespace {

constexpr std::array kStates{"starting", "waiting",  "restoring",    "blocked", "streaming",
                             "snapshot", "retrying", "backpressure", "gap",     "fenced",
                             "failed",   "draining", "stopped"};
constexpr Millis kMetricsEvery{10'000};

double seconds(Millis d) {
    return static_cast<double>(d.count()) / 1000;
}

} // namespace

StatusBoard::StatusBoard(ShipStatus base) : base_(std::move(base)) {
    base_.running = true;
    base_.state = "starting";
    base_.started = now_wall();
}

void StatusBoard::set_state(std::string state, std::string error) {
    std::lock_guard lock(mutex_);
    base_.state = std::move(state);
    base_.last_error = std::move(error);
}

void StatusBoard::attach(std::shared_ptr<Replicator> replicator) {
    std::lock_guard lock(mutex_);
    replicator_ = std::move(replicator);
}

void StatusBoard::detach() {
    const ShipStatus last = status();
    std::lock_guard lock(mutex_);
    base_ = last;
    failed_at_ = now_wall(); // the lag up to now is in it
    replicator_.reset();
}

void StatusBoard::fail(const Error& error) {
    std::lock_guard lock(mutex_);
    failure_ = error;
    failed_at_ = now_wall();
}

std::optional<Error> StatusBoard::failure() const {
    std::lock_guard lock(mutex_);
    return failure_;
}

std::shared_ptr<Replicator> StatusBoard::replicator() const {
    std::lock_guard lock(mutex_);
    return replicator_;
}

ShipStatus StatusBoard::status() const {
    const auto replicator = this->replicator();
    std::optional<ShipStatus> live;
    if (replicator)
        live = replicator->status(); // not under our lock: it may have to wait for its own
    std::lock_guard lock(mutex_);
    ShipStatus s = live ? *live : base_;
    s.running = true;
    s.started = base_.started;
    s.database = base_.database;
    s.name = base_.name;
    s.store = base_.store;
    if (live && !s.last_snapshot_time) { // none since the start
        s.last_snapshot_time = base_.last_snapshot_time;
        s.last_snapshot_sequence = base_.last_snapshot_sequence;
    }
    if (failure_) {
        s.state = failure_->kind() == ErrorKind::fenced ? "fenced" : "failed";
        s.last_error = failure_->message();
        s.lag += std::max(now_wall() - failed_at_, Millis(0));
    }
    return s;
}

std::string summary(const ShipStatus& s) {
    std::string text = s.name + ": " + s.state + ", sequence " +
                       std::to_string(s.durable_sequence) + " durable, " +
                       std::to_string(s.pending_segments) + " segments (" +
                       format_size(s.pending_bytes) + ") pending, lag " +
                       (s.lag == Millis(0) ? "none" : format_duration(s.lag));
    if (s.state == "failed" || s.state == "fenced" || s.state == "blocked")
        text += ": " + s.last_error;
    return text;
}

void set_metrics(Metrics& m, const ShipStatus& s) {
    auto number = [&](const char* name, std::uint64_t value, const char* help) {
        m.set(std::string("zl_walship_") + name, static_cast<double>(value), help);
    };
    auto time = [&](const char* name, const std::optional<TimePoint>& t, const char* help) {
        if (t) // a zero would be a date in 1970
            m.set(std::string("zl_walship_") + name, seconds(t->time_since_epoch()), help);
    };
    number("running", s.running, "1 while zl-walship runs.");
    m.set("zl_walship_lag_seconds", seconds(s.lag),
          "Age of the oldest commit that is not in the store; 0: all are.");
    number("pending_segments", s.pending_segments,
           "Segments in the cache that wait for the store.");
    number("pending_bytes", s.pending_bytes, "Bytes of those.");
    number("captured_sequence", s.captured_sequence, "Last segment in the cache.");
    number("durable_sequence", s.durable_sequence, "Last segment confirmed by the store.");
    number("wal_frames", s.wal_frames, "Frames in the live WAL.");
    number("wal_bytes", s.wal_bytes, "Size of the live WAL.");
    number("failed_uploads_total", s.failed_uploads, "Failed uploads since the start.");
    number("resyncs_total", s.resyncs, "Times that continuity had to be repaired since the start.");
    number("gap", s.gap_from.has_value(), "1 while moments are being lost to save the disk.");
    time("last_snapshot_timestamp_seconds", s.last_snapshot_time,
         "When the last snapshot was taken.");
    time("last_wal_sync_timestamp_seconds", s.last_wal_sync,
         "When the store last confirmed a segment.");
    for (const char* state : kStates)
        m.set("zl_walship_state", s.state == state ? 1 : 0, "1 for the state that it is in.",
              {{"state", state}});
}

Pulse::Pulse(ToolContext& context, const StatusBoard& board, const Notifier& notifier)
    : context_(context), board_(board), notifier_(notifier),
      thread_([this](const std::stop_token& stop) { run(stop); }) {}

Pulse::~Pulse() {
    thread_.request_stop();
    thread_.join();
    ShipStatus last = board_.status();
    last.running = false;
    if (last.state != "fenced" && last.state != "failed")
        last.state = "stopped";
    set_metrics(context_.metrics(), last);
}

void Pulse::ready() {
    {
        std::lock_guard lock(mutex_);
        ready_ = true;
    }
    notifier_.send("READY=1\nSTATUS=" + printable(summary(board_.status())));
}

void Pulse::run(const std::stop_token& stop) {
    using Clock = std::chrono::steady_clock;
    const Millis every = std::min(Millis(1000), notifier_.watchdog().value_or(Millis(1000)));
    Clock::time_point next_slow{};
    std::string told;
    std::unique_lock lock(mutex_);
    while (!stop.stop_requested()) {
        const bool ready = ready_;
        lock.unlock();
        const ShipStatus status = board_.status();
        const bool slow = Clock::now() >= next_slow;
        std::string text = printable(summary(status)); // in one line
        std::string message;
        if (std::exchange(told, text) != text)
            message = "STATUS=" + text;
        if (notifier_.watchdog())
            message += std::string(message.empty() ? "" : "\n") + "WATCHDOG=1";
        if (!ready && slow)
            message += std::string(message.empty() ? "" : "\n") + "EXTEND_TIMEOUT_USEC=60000000";
        if (!message.empty())
            notifier_.send(message);
        if (slow) {
            next_slow = Clock::now() + kMetricsEvery;
            set_metrics(context_.metrics(), status);
            context_.write_metrics();
        }
        lock.lock();
        wake_.wait_for(lock, stop, every, [] { return false; });
    }
}

} // namespace zl
