#include "wal/disk_margin.hpp"

#include <sys/statvfs.h>

#include <algorithm>

namespace zl {

namespace {

constexpr std::chrono::milliseconds kApart{500};

} // namespace

bool DiskMargin::low(std::uint64_t left, std::uint64_t all, Time now) {
    if (!last_ || now - last_->at >= kApart) {
        before_ = last_;
        last_ = Sample{now, left};
    }
    std::uint64_t going = 0;
    if (before_ && before_->left > left) {
        const double seconds = std::chrono::duration<double>(now - before_->at).count();
        const double rate = static_cast<double>(before_->left - left) / seconds;
        going = static_cast<std::uint64_t>(rate * std::chrono::duration<double>(kReaction).count());
    }
    return left < std::min(all / 10, kEnough) + going;
}

bool DiskMargin::low(const std::string& path) {
    struct statvfs disk {};
    if (::statvfs(path.c_str(), &disk) != 0)
        return false;
    return low(std::uint64_t{disk.f_bavail} * disk.f_frsize,
               std::uint64_t{disk.f_blocks} * disk.f_frsize, std::chrono::steady_clock::now());
}

} // namespace zl
