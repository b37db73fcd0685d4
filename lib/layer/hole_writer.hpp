/// Writes a new file and leaves a hole for every aligned 4 KiB of zeros.
#pragma once

#include "stream/stream.hpp"

#include <cstdint>
#include <string_view>

namespace zl {

class HoleWriter {
public:
    /// @p fd is a new, empty file; @p name is for messages. Both outlive this.
    HoleWriter(int fd, std::string_view name) : fd_(fd), name_(name) {}
    /// @p offset is at or after the end of the data before. Throws io.
    void write(std::uint64_t offset, Bytes data);
    /// Sets the size.
    void finish(std::uint64_t size);

private:
    int fd_;
    std::string_view name_;
    std::uint64_t end_ = 0; ///< of what is written
};

/// Whether all of @p data is zero.
bool is_zero(Bytes data);

} // namespace zl
