/// stderr: messages as text (`zl-push: ...`) or JSON lines, and the place where a progress line is
/// drawn. Nothing else writes to stderr.
#pragma once

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/report.hpp"

#include <functional>
#include <mutex>
#include <string>

namespace zl {

enum class LogFormat { text, json };

/// Thread-safe. Each message is one write(2), so that those of several tools in a pipeline do not
/// mix within a line. Control characters (a file name may hold them) are written as \xNN.
class Console final : public Log {
public:
    /// @p fd is stderr (tests: a pipe) and stays the caller's.
    Console(std::string tool, int fd) : tool_(std::move(tool)), fd_(fd) {}

    /// Messages up to @p shown are written. Before this call: text, warnings.
    void configure(LogFormat format, LogLevel shown);
    LogFormat format() const { return format_; }

    void write(LogLevel level, std::string_view message) override;
    /// A line at -v, and @p on_retry, from whichever thread. Set it before others use the console.
    void retrying(const RetryNotice& notice) override;
    void on_retry(std::function<void(const RetryNotice&)> on_retry) {
        on_retry_ = std::move(on_retry);
    }
    /// The message that ends the run, shown at every level; @p exit_code goes into the JSON line.
    void failure(const Error& error, int exit_code);
    /// One line that is shown at every level (SIGUSR1, --progress=30s).
    void line(std::string_view event, std::string_view text, const Json& fields);

    /// Draw @p text over the line drawn before; it is taken away for messages. Empty = remove.
    /// ASCII is drawn as it is, other bytes as `?`: the line must not take more columns than bytes.
    void draw(std::string_view text);
    /// What @p write does to the terminal by other ways, such as a result on stdout, begins on a
    /// line without a drawn one.
    void aside(const std::function<void()>& write);
    bool is_terminal() const;
    /// Columns of the terminal, 80 if it does not say. A line that wraps could not be drawn over,
    /// and what is written into the last column may wrap.
    std::size_t columns() const;

private:
    void put(const std::string& text);
    void put_json(std::string_view level, std::string_view event, std::string_view message,
                  const Json& fields);
    std::string erased() const;

    std::string tool_;
    int fd_;
    LogFormat format_ = LogFormat::text;
    LogLevel shown_ = LogLevel::warning;
    std::mutex mutex_;
    std::string drawn_;
    std::function<void(const RetryNotice&)> on_retry_;
};

} // namespace zl
