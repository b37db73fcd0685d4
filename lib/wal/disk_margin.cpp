#include "wal/disk_margin.hpp"

#include <sys/statvfs.h>

#include <algorithm>

namespace zl {

namespace {

constexpr std::chrono::milliseconds kApart{500};

} // namespace

DiskMargin::Left DiskMargin::left(std::uint64_t left, std::uint64_t all, Time now) {
    if (samples_.empty() || now - samples_.back().at >= kApart)
        samples_.push_back({now, left});
    while (samples_.size() > 1 && now - samples_[1].at >= kReaction)
        samples_.pop_front();
    const Sample& before = samples_.front();
    std::uint64_t going = 0;
    if (before.left > left) {
        // Scaled down, never up: one commit and its checkpoint are no rate.
        const std::chrono::duration<double> span = now - before.at, reaction = kReaction;
        going = static_cast<std::uint64_t>(static_cast<double>(before.left - left) *
                                           std::min(1.0, reaction / span));
    }
    if (left < going)
        return Left::none;
    return left < std::min(all / 10, kEnough) + going ? Left::little : Left::enough;
}

DiskMargin::Left DiskMargin::left(const std::string& path) {
    struct statvfs disk {};
    if (::statvfs(path.c_str(), &disk) != 0)
        return Left::enough;
    return left(std::uint64_t{disk.f_bavail} * disk.f_frsize,
                std::uint64_t{disk.f_blocks} * disk.f_frsize, std::chrono::steady_clock::now());
}

} // namespace zl
