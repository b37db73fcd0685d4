/// Whether a file system is about to run full, by how much is left and how fast that goes.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace zl {

class DiskMargin {
public:
    using Time = std::chrono::steady_clock::time_point;

    /// Less than a tenth (1 GiB at most) is left of @p all bytes, or at the rate of the last half
    /// second or more less than that will be in kReaction: a busy machine may not let us look again
    /// in time.
    bool low(std::uint64_t left, std::uint64_t all, Time now);
    /// The same of the file system of @p path; false where it cannot be asked.
    bool low(const std::string& path);

    static constexpr std::uint64_t kEnough = std::uint64_t{1} << 30;
    static constexpr std::chrono::milliseconds kReaction{2000};

private:
    struct Sample {
        Time at{};
        std::uint64_t left = 0;
    };
    std::optional<Sample> before_, last_; ///< half a second apart at least
};

} // namespace zl
