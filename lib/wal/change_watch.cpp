#include "wal/change_watch.hpp"

#include "base/error.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <array>

namespace zl {

ChangeWatch::ChangeWatch()
    : inotify_(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)),
      event_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    if (!event_)
        throw sys_error("eventfd");
}

void ChangeWatch::watch(const std::string& path) {
    if (!inotify_)
        return;
    if (watch_ >= 0)
        ::inotify_rm_watch(inotify_.get(), watch_);
    watch_ = ::inotify_add_watch(inotify_.get(), path.c_str(), IN_MODIFY);
}

ChangeWatch::Woken ChangeWatch::wait(Millis timeout) {
    std::array<pollfd, 2> fds{pollfd{event_.get(), POLLIN, 0}, pollfd{inotify_.get(), POLLIN, 0}};
    if (::poll(fds.data(), fds.size(), static_cast<int>(timeout.count())) <= 0)
        return Woken::timeout;
    Woken woken = Woken::timeout;
    if (fds[1].revents & POLLIN) {
        alignas(inotify_event) std::array<char, 4096> events;
        while (::read(inotify_.get(), events.data(), events.size()) > 0)
            ;
        woken = Woken::changed;
    }
    if (fds[0].revents & POLLIN) {
        std::uint64_t count = 0;
        [[maybe_unused]] auto n = ::read(event_.get(), &count, sizeof count);
        woken = Woken::called;
    }
    return woken;
}

void ChangeWatch::wake() noexcept {
    const std::uint64_t one = 1;
    [[maybe_unused]] auto n = ::write(event_.get(), &one, sizeof one);
}

} // namespace zl
