/// Whether a file system is about to run full, by how much is left and how fast that goes.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <string>

namespace zl {

class DiskMargin {
public:
    using Time = std::chrono::steady_clock::time_point;

    enum class Left {
        enough,
        little, ///< less than a tenth (1 GiB at most) of @p all bytes, or will be in kReaction
        none    ///< none will be in kReaction: a busy machine may not let us look again in time
    };
    /// What will be is told by what went in the last kReaction.
    Left left(std::uint64_t left, std::uint64_t all, Time now);
    /// The same of the file system of @p path; enough where it cannot be asked.
    Left left(const std::string& path);

    static constexpr std::uint64_t kEnough = std::uint64_t{1} << 30;
    static constexpr std::chrono::milliseconds kReaction{2000};

private:
    struct Sample {
        Time at{};
        std::uint64_t left = 0;
    };
    std::deque<Sample> samples_; ///< half a second apart; the first is kReaction old, if any is
};

} // namespace zl
