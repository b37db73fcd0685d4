#include "progress.hpp"

#include <algorithm>
#include <vector>

namespace zl {

namespace {

constexpr std::chrono::seconds kRateWindow{10};
constexpr Millis kRedraw{200};
constexpr std::chrono::seconds kLongestAttempt{45}; // connecting, and a stall until it is noticed
constexpr Millis kAlwaysInterval{30'000};

double seconds_between(ProgressMeter::Clock::time_point a, ProgressMeter::Clock::time_point b) {
    return std::chrono::duration<double>(b - a).count();
}

std::uint64_t clamped(std::int64_t bytes) {
    return static_cast<std::uint64_t>(std::max<std::int64_t>(bytes, 0));
}

/// What a phase counts whose end is not known.
const char* unit_of(const std::string& phase) {
    return phase == "packing" ? " files" : " objects";
}

/// A piece of the line; those of the highest rank are left out first, 0 stays.
struct Piece {
    std::string text;
    int rank;
};

std::string joined(std::vector<Piece> pieces, std::size_t width) {
    for (;;) {
        std::string out;
        for (const Piece& p : pieces)
            out += p.text;
        auto least = std::max_element(pieces.begin(), pieces.end(),
                                      [](auto& a, auto& b) { return a.rank < b.rank; });
        if (out.size() <= width || least->rank == 0)
            return out.substr(0, width);
        pieces.erase(least);
    }
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
    waiting_.reset();
}

void ProgressMeter::retrying(const RetryNotice& notice, Clock::time_point now) {
    std::lock_guard lock(mutex_);
    ++retries_;
    waiting_ = Waiting{notice.why, now + notice.left, now + notice.delay + kLongestAttempt, bytes_};
}

std::uint64_t ProgressMeter::retries() const {
    std::lock_guard lock(mutex_);
    return retries_;
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
    return !phase_.empty() || waiting_;
}

double ProgressMeter::rate(Clock::time_point now) const {
    if (samples_.empty())
        return 0;
    double seconds = seconds_between(samples_.front().time, now);
    if (seconds < 0.05)
        return 0;
    return std::max(0.0, static_cast<double>(bytes_ - samples_.front().bytes) / seconds);
}

Millis ProgressMeter::patience(Clock::time_point now) const {
    auto left = std::chrono::duration_cast<std::chrono::seconds>(waiting_->until - now);
    return std::max<Millis>(left, Millis(0));
}

/// `4m10s`; empty if it cannot be said.
std::string ProgressMeter::time_left(double speed) const {
    const std::uint64_t done = clamped(bytes_);
    if (!total_ || done >= *total_ || speed < 1)
        return {};
    const double left = static_cast<double>(*total_ - done) / speed;
    return left < 365.0 * 86'400 ? format_duration(Millis(static_cast<long long>(left) * 1000))
                                 : std::string();
}

std::string ProgressMeter::line(Clock::time_point now, std::size_t width) const {
    std::lock_guard lock(mutex_);
    const std::uint64_t done = clamped(bytes_);
    const double speed = rate(now);
    std::vector<Piece> out;
    const std::string counted =
        items_done_ > 0 ? std::to_string(items_done_) + unit_of(phase_) : std::string();
    // Of many a few bytes that nobody counts.
    const bool only_counted = done == 0 && !total_ && items_total_ == 0 && !counted.empty();
    if (phase_.empty())
        out.push_back({"waiting for the store", 0});
    else
        out = {{phase_ + " ", 1}, {only_counted ? counted : format_size(done), 0}};
    if (total_)
        out.push_back({" of " + format_size(*total_), 5});
    if (total_ && *total_ > 0) {
        const double percent = 100.0 * static_cast<double>(done) / static_cast<double>(*total_);
        out.push_back({", " + std::to_string(static_cast<int>(std::min(percent, 100.0))) + "%", 2});
    }
    if (is_waiting(now)) {
        out.push_back({", " + waiting_->why, 6});
        out.push_back({", retrying for " + format_duration(patience(now)) + " more", 1});
        return joined(std::move(out), width);
    }
    if (!phase_.empty() && !only_counted)
        out.push_back({", " + format_size(static_cast<std::uint64_t>(speed)) + "/s", 4});
    if (const std::string left = time_left(speed); !left.empty())
        out.push_back({", ETA " + left, 3});
    if (items_total_ > 0)
        out.push_back(
            {", parts " + std::to_string(items_done_) + "/" + std::to_string(items_total_), 6});
    else if (!counted.empty() && !only_counted)
        out.push_back({", " + counted, 6});
    if (retries_ > 0)
        out.push_back({", retries " + std::to_string(retries_), 7});
    return joined(std::move(out), width);
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
    if (retries_ > 0)
        fields["retries"] = retries_;
    if (is_waiting(now)) {
        fields["retrying"] = waiting_->why;
        fields["retrying_seconds_left"] = patience(now).count() / 1000;
    }
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

void ProgressDisplay::retrying(const RetryNotice& notice) {
    meter_.retrying(notice, ProgressMeter::Clock::now());
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
        console_.draw(meter_.line(now, console_.columns() - 1));
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
