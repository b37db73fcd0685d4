/// Sleeps until a file is written to, somebody wakes us, or time is up.
#pragma once

#include "base/file.hpp"
#include "base/units.hpp"

#include <string>

namespace zl {

class ChangeWatch {
public:
    ChangeWatch();
    /// Watch @p path from now on (instead of what was watched). Where inotify does not work (some
    /// network file systems), wait() just takes its time.
    void watch(const std::string& path);
    bool works() const { return watch_ >= 0; }
    enum class Woken { changed, called, timeout };
    Woken wait(Millis timeout);
    /// From any thread: the wait under way, or the next one, returns `called`.
    void wake() noexcept;

private:
    UniqueFd inotify_, event_;
    int watch_ = -1;
};

} // namespace zl
