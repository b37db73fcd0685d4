/// What a tool tells its user while it works: log lines and progress. The library never knows
/// whether that becomes text, JSON lines, a bar on a terminal or nothing (tools/ decides).
#pragma once

#include "base/units.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace zl {

enum class LogLevel { error, warning, notice, info, debug, trace };

/// A request that failed in a way that may pass, and is made again.
struct RetryNotice {
    std::string what; ///< `put s3://bucket/key`
    std::string why;  ///< `503 SlowDown`
    Millis delay{0};  ///< until the next attempt
    Millis left{0};   ///< after which it is given up
};

/// Thread-safe. warning: always shown (unless -q); notice: to a person at a terminal, with -v to
/// others too (off a terminal, success is silent); info: -v; debug: -vv, one line per request;
/// trace: -vvv. Never give it a secret: no Authorization header, no query string of a signed URL.
class Log {
public:
    virtual ~Log() = default;
    virtual void write(LogLevel level, std::string_view message) = 0;

    /// Whoever shows progress shows this too: a transfer that waits is not one that hangs.
    virtual void retrying(const RetryNotice& r) {
        info(r.what + ": " + r.why + ", again in " + format_duration(r.delay));
    }

    void warn(std::string_view m) { write(LogLevel::warning, m); }
    void notice(std::string_view m) { write(LogLevel::notice, m); }
    void info(std::string_view m) { write(LogLevel::info, m); }
    void debug(std::string_view m) { write(LogLevel::debug, m); }
};

/// Thread-safe counters of one task. advance() may be negative (a part that is sent again).
class Progress {
public:
    virtual ~Progress() = default;
    /// A new phase ("packing", "uploading"); @p total_bytes where known.
    virtual void begin(std::string_view phase, std::optional<std::uint64_t> total_bytes) = 0;
    virtual void advance(std::int64_t bytes) = 0;
    /// Parts, files, ...: shown beside the bytes. @p total 0 = unknown.
    virtual void items(std::uint64_t done, std::uint64_t total) = 0;
};

/// For tests and defaults.
class NullLog final : public Log {
public:
    void write(LogLevel, std::string_view) override {}
};
class NullProgress final : public Progress {
public:
    void begin(std::string_view, std::optional<std::uint64_t>) override {}
    void advance(std::int64_t) override {}
    void items(std::uint64_t, std::uint64_t) override {}
};

} // namespace zl
