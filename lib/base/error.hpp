/// The one error type. Expected things are values (std::optional: not there; enum: an answer);
/// failures are exceptions of this type. Exit codes are made from the kind in tools/tool.cpp only.
#pragma once

#include <exception>
#include <string>
#include <string_view>

namespace zl {

/// What a caller may do about it; each kind is one exit code (tools/tool.cpp).
enum class ErrorKind {
    usage,     ///< 64: wrong options or operands
    data,      ///< 65: truncated, corrupt or mismatching data; retrying cannot help
    not_found, ///< 66: no such layer, name, source directory
    internal,  ///< 70: our bug
    exists,    ///< 73: output exists or cannot be created
    io,        ///< 74: local I/O error, disk full
    transient, ///< 75: temporary; state is saved, run again
    conflict,  ///< a condition of the request was not met (HTTP 412/409): the caller decides
    gone,      ///< the multipart upload no longer exists (NoSuchUpload): the caller decides
    unsupported, ///< the store does not have the operation (HTTP 501): the caller decides
    fenced,    ///< 76: another writer owns the name
    denied,    ///< 77: no or refused credentials, missing privileges
    config,    ///< 78: bad configuration
};

/// Message style: lower case, no full stop, the value seen and the value wanted:
/// `segment 7: checksum 1a2b, expected 3c4d`. Printed once, by run_tool.
class Error : public std::exception {
public:
    Error(ErrorKind kind, std::string message, std::string hint = {})
        : kind_(kind), message_(std::move(message)), hint_(std::move(hint)) {}

    ErrorKind kind() const noexcept { return kind_; }
    const char* what() const noexcept override { return message_.c_str(); }
    const std::string& message() const noexcept { return message_; }
    /// The next step for the person reading, printed as `hint: ...`; may be empty.
    const std::string& hint() const noexcept { return hint_; }

    /// Put @p context in front of the message: `uploading part 7: connection reset`.
    Error& add_context(std::string_view context);
    Error& with_hint(std::string hint) {
        hint_ = std::move(hint);
        return *this;
    }
    Error& with_kind(ErrorKind kind) {
        kind_ = kind;
        return *this;
    }

private:
    ErrorKind kind_;
    std::string message_;
    std::string hint_;
};

/// Thrown where a stop was asked for (signal). Not an Error, so that `catch (Error&)` cannot eat it.
class Interrupted : public std::exception {
public:
    const char* what() const noexcept override { return "interrupted"; }
};

/// Error from errno: `open /x/y: permission denied`. Call before anything can change errno.
/// ENOENT -> not_found, EACCES/EPERM -> denied, everything else -> io.
Error sys_error(std::string_view what);
Error sys_error(std::string_view what, int errnum);

} // namespace zl
