#include "console.hpp"

#include "base/shown.hpp"
#include "base/units.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace zl {

namespace {

const char* level_name(LogLevel level) {
    switch (level) {
    case LogLevel::error:
        return "error";
    case LogLevel::warning:
        return "warning";
    case LogLevel::notice:
    case LogLevel::info:
        return "info";
    case LogLevel::debug:
        return "debug";
    case LogLevel::trace:
        return "trace";
    }
    return "?";
}

/// @p head in front of every line.
std::string prefixed(const std::string& head, std::string_view message) {
    std::string out;
    while (!message.empty()) {
        std::size_t end = message.find('\n');
        out += head + std::string(message.substr(0, end)) + "\n";
        message.remove_prefix(end == std::string_view::npos ? message.size() : end + 1);
    }
    return out;
}

} // namespace

void Console::configure(LogFormat format, LogLevel shown) {
    std::lock_guard lock(mutex_);
    format_ = format;
    shown_ = shown;
}

bool Console::is_terminal() const {
    return ::isatty(fd_) == 1;
}

std::size_t Console::columns() const {
    winsize size{};
    return ::ioctl(fd_, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/// Blanks instead of an escape sequence: works on every terminal and with NO_COLOR.
std::string Console::erased() const {
    // Not beyond the edge, should the terminal have become narrower.
    const std::size_t width = std::min(drawn_.size(), columns() - 1);
    return drawn_.empty() ? "" : "\r" + std::string(width, ' ') + "\r";
}

/// stderr that cannot be written to is nothing that could be reported anywhere.
void Console::put(const std::string& text) {
    for (std::size_t done = 0; done < text.size();) {
        ssize_t n = ::write(fd_, text.data() + done, text.size() - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        done += static_cast<std::size_t>(n);
    }
}

void Console::put_json(std::string_view level, std::string_view event, std::string_view message,
                       const Json& fields) {
    Json line;
    line["ts"] = format_rfc3339(now_wall());
    line["level"] = level;
    line["tool"] = tool_;
    if (!event.empty())
        line["event"] = event;
    line["msg"] = message;
    if (fields.is_object())
        for (const auto& [key, value] : fields.items())
            line[key] = value;
    put(dump_json(line) + "\n");
}

void Console::write(LogLevel level, std::string_view message) {
    std::lock_guard lock(mutex_);
    const bool to_a_person = level == LogLevel::notice && shown_ == LogLevel::warning &&
                             format_ == LogFormat::text && is_terminal();
    if (level > shown_ && !to_a_person)
        return;
    if (format_ == LogFormat::json)
        return put_json(level_name(level), "", message, {});
    put(erased() + prefixed(tool_ + ": ", printable(message, true)) + drawn_);
}

void Console::failure(const Error& error, int exit_code) {
    std::lock_guard lock(mutex_);
    if (format_ == LogFormat::json) {
        Json fields{{"exit", exit_code}};
        if (!error.hint().empty())
            fields["hint"] = error.hint();
        return put_json("error", "failed", error.message(), fields);
    }
    std::string text = erased() + prefixed(tool_ + ": ", printable(error.message(), true));
    if (!error.hint().empty())
        text += prefixed("hint: ", printable(error.hint(), true));
    drawn_.clear();
    put(text);
}

void Console::line(std::string_view event, std::string_view text, const Json& fields) {
    std::lock_guard lock(mutex_);
    if (format_ == LogFormat::json)
        return put_json("info", event, text, fields);
    put(erased() + prefixed(tool_ + ": ", printable(text)) + drawn_);
}

void Console::retrying(const RetryNotice& notice) {
    Log::retrying(notice);
    if (on_retry_)
        on_retry_(notice);
}

void Console::aside(const std::function<void()>& write) {
    std::lock_guard lock(mutex_);
    put(erased());
    drawn_.clear();
    write();
}

void Console::draw(std::string_view text) {
    std::lock_guard lock(mutex_);
    std::string line(text);
    for (char& c : line)
        if (c < 0x20 || c > 0x7e)
            c = '?';
    if (line == drawn_)
        return; // nothing that could flicker
    std::string out;
    if (line.empty()) {
        out = erased();
    } else { // one write, padded over what a longer line left behind
        const std::size_t old = std::min(drawn_.size(), columns() - 1);
        out = "\r" + line + std::string(old > line.size() ? old - line.size() : 0, ' ');
    }
    drawn_ = std::move(line);
    put(out);
}

} // namespace zl
