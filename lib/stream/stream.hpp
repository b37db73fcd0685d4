/// Source and Sink: how bytes flow through the library. Data flows one way; the end of a Source is
/// never by itself success (a pipe cannot tell "done" from "died"), see lib/README.md I1.
#pragma once

#include "base/file.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>

namespace zl {

using Bytes = std::span<const std::byte>;

class Source {
public:
    virtual ~Source() = default;
    /// Fills at least one byte of @p buffer (not empty); 0 = end. Throws on failure.
    virtual std::size_t read(std::span<std::byte> buffer) = 0;
    /// Called from another thread: a read() that is blocked, and every later one, throws
    /// Interrupted.
    virtual void cancel() noexcept {}
};

class Sink {
public:
    virtual ~Sink() = default;
    /// Takes all of @p data or throws.
    virtual void write(Bytes data) = 0;
    /// The data is complete and good: flush, check, close. A Sink destroyed without finish() has
    /// failed; its destructor discards. Wrappers call the inner finish().
    virtual void finish() {}
    /// write() never waits (memory, not a pipe or a disk): a thread that must not be held up may
    /// call it, as HttpClient's does, without a buffer between.
    virtual bool prompt() const { return false; }
};

/// Waits for a descriptor, or for a cancel from another thread or a stop token.
class Waiter {
public:
    explicit Waiter(std::stop_token stop);
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;
    ~Waiter();
    void cancel() noexcept;
    /// Until @p fd has one of the poll(2) @p events. Throws Interrupted once cancelled.
    void wait(int fd, short events, const std::string& name);

private:
    std::atomic<bool> cancelled_ = false;
    int wake_;
    std::unique_ptr<std::stop_callback<std::function<void()>>> on_stop_;
};

/// Reads a descriptor that somebody else owns. A read() that is blocked is woken by @p stop and
/// throws Interrupted.
class FdSource final : public Source {
public:
    FdSource(int fd, std::string name, std::stop_token stop = {})
        : fd_(fd), name_(std::move(name)), waiter_(std::move(stop)) {}
    std::size_t read(std::span<std::byte> buffer) override;
    void cancel() noexcept override { waiter_.cancel(); }

private:
    int fd_;
    std::string name_;
    Waiter waiter_;
};

/// Writes to a descriptor that somebody else owns. EPIPE throws BrokenPipe. A write() to a full
/// pipe is woken by @p stop and throws Interrupted.
class FdSink final : public Sink {
public:
    FdSink(int fd, std::string name, std::stop_token stop = {});
    void write(Bytes data) override;

private:
    int fd_;
    std::string name_;
    UniqueFd own_;                   ///< a pipe, opened anew without blocking
    std::unique_ptr<Waiter> waiter_; ///< not for files: they never block for long
};

/// The reader of our stdout went away: run_tool ends silently with 141.
class BrokenPipe : public std::exception {
public:
    const char* what() const noexcept override { return "broken pipe"; }
};

/// Reads a byte span (tests, small metadata).
class MemorySource final : public Source {
public:
    explicit MemorySource(Bytes data) : data_(data) {}
    std::size_t read(std::span<std::byte> buffer) override;

private:
    Bytes data_;
};

class MemorySink final : public Sink {
public:
    void write(Bytes data) override;
    std::string text; ///< what was written
};

class FunctionSink final : public Sink {
public:
    explicit FunctionSink(std::function<void(Bytes)> fn) : fn_(std::move(fn)) {}
    void write(Bytes data) override { fn_(data); }

private:
    std::function<void(Bytes)> fn_;
};

/// Fill @p buffer as far as the source goes; returns the bytes read (less than size = end).
std::size_t read_full(Source& source, std::span<std::byte> buffer);

} // namespace zl
