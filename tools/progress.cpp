#include "progress.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>

namespace zl {

namespace {

constexpr std::chrono::seconds kRateWindow{10};
constexpr Millis kRedraw{200};
constexpr Millis kAlwaysInterval{30'000};

/// Columns of the terminal on stderr; a line that wraps could not be drawn over.
std::size_t terminal_columns() {
    winsize size{};
    if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20)
        return size.ws_col;
    return 80;
}

double seconds_between(ProgressMeter::Clock::time_point a, ProgressMeter::Clock::time_point b) {
    return std::chrono::duration<double>(b - a).count();
}

std::uint64_t clamped(std::int64_t bytes) {
    return static_cast<std::uint64_t>(std::max<std::int64_t>(bytes, 0));
}

} // namespace

void ProgressMeter::begin(std::string_view phase, std::optional<std::uint64_t> total,
                          Clock::time_point now) {
    std::lock_guard lock(mutex_);
    phase_ = phase;
    total_ = total;
    bytes_ = 0;
    items_done_ = items_total_ = 0;
    samples_.assign(1, {now, 0});
}

void ProgressMeter::advance(std::int64_t bytes) {
    std::lock_guard lock(mutex_);
    bytes_ += bytes;
}

void ProgressMeter::items(std::uint64_t done, std::uint64_t total) {
    std::lock_guard lock(mutex_);
    items_done_ = done;
    items_total_ = total;
}

void ProgressMeter::sample(Clock::time_point now) {
    std::lock_guard lock(mutex_);
    samples_.push_back({now, bytes_});
    while (samples_.size() > 2 && now - samples_[1].time >= kRateWindow)
        samples_.pop_front();
}

bool ProgressMeter::started() const {
    std::lock_guard lock(mutex_);
    return !phase_.empty();
}

double ProgressMeter::rate(Clock::time_point now) const {
    if (samples_.empty())
        return 0;
    double seconds = seconds_between(samples_.front().time, now);
    if (seconds < 0.05)
        return 0;
    return std::max(0.0, static_cast<double>(bytes_ - samples_.front().bytes) / seconds);
}

std::string ProgressMeter::line(Clock::time_point now) const {
    std::lock_guard lock(mutex_);
    const std::uint64_t done = clamped(bytes_);
    const double speed = rate(now);
    std::string out = phase_ + " " + format_size(done);
    if (total_) {
        out += " of " + format_size(*total_);
        if (*total_ > 0) {
            double percent = 100.0 * static_cast<double>(done) / static_cast<double>(*total_);
            out += ", " + std::to_string(static_cast<int>(std::min(percent, 100.0))) + "%";
        }
    }
    out += ", " + format_size(static_cast<std::uint64_t>(speed)) + "/s";
    if (total_ && done < *total_ && speed >= 1) {
        double left = static_cast<double>(*total_ - done) / speed;
        if (left < 365.0 * 86'400)
            out += ", ETA " + format_duration(Millis(static_cast<long long>(left) * 1000));
    }
    if (items_total_ > 0)
        out += ", parts " + std::to_string(items_done_) + "/" + std::to_string(items_total_);
    else if (items_done_ > 0)
        out += ", " + std::to_string(items_done_) + " files";
    return out;
}

Json ProgressMeter::fields(Clock::time_point now) const {
    std::lock_guard lock(mutex_);
    Json fields{{"phase", phase_}, {"bytes", clamped(bytes_)}};
    if (total_)
        fields["total_bytes"] = *total_;
    fields["bytes_per_second"] = static_cast<std::uint64_t>(rate(now));
    if (items_done_ > 0 || items_total_ > 0)
        fields["items"] = items_done_;
    if (items_total_ > 0)
        fields["total_items"] = items_total_;
    return fields;
}

void ProgressDisplay::start(ProgressMode mode, Millis interval) {
    mode_ = mode;
    interval_ = mode == ProgressMode::drawn ? kRedraw : interval;
    if (mode_ != ProgressMode::silent)
        thread_ = std::jthread([this](std::stop_token stop) { run(std::move(stop)); });
}

void ProgressDisplay::stop() {
    if (!thread_.joinable())
        return;
    thread_.request_stop();
    thread_.join();
    if (mode_ == ProgressMode::drawn)
        console_.draw("");
}

void ProgressDisplay::begin(std::string_view phase, std::optional<std::uint64_t> total_bytes) {
    meter_.begin(phase, total_bytes, ProgressMeter::Clock::now());
}

void ProgressDisplay::run(std::stop_token stop) {
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, stop, interval_, [&] { return stop.stop_requested(); })) {
        if (stop.stop_requested())
            break;
        tick();
    }
}

void ProgressDisplay::tick() {
    if (!meter_.started())
        return;
    const auto now = ProgressMeter::Clock::now();
    meter_.sample(now);
    if (mode_ == ProgressMode::lines)
        console_.line("progress", meter_.line(now), meter_.fields(now));
    else
        console_.draw(meter_.line(now).substr(0, terminal_columns() - 1));
}

void ProgressDisplay::show_now() {
    const auto now = ProgressMeter::Clock::now();
    if (meter_.started())
        console_.line("progress", meter_.line(now), meter_.fields(now));
    else
        console_.line("progress", "starting", {});
}

ProgressSetting progress_setting(const std::string& text, bool quiet, bool may_draw,
                                 bool last_stage) {
    const bool automatic = text == "auto", always = text == "always", never = text == "never";
    Millis interval = kAlwaysInterval;
    if (!automatic && !always && !never) {
        interval = parse_duration(text);
        if (interval < Millis(100))
            throw Error(ErrorKind::usage, "bad interval '" + text + "', expected 100ms or more");
    }
    if (quiet || never)
        return {};
    if (automatic)
        return {may_draw && last_stage ? ProgressMode::drawn : ProgressMode::silent, Millis(0)};
    if (always && may_draw)
        return {ProgressMode::drawn, Millis(0)};
    return {ProgressMode::lines, interval};
}

} // namespace zl
