#include "stream/stream.hpp"

#include "base/error.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace zl {

Waiter::Waiter(std::stop_token stop) : wake_(::eventfd(0, EFD_CLOEXEC)) {
    if (wake_ < 0)
        throw sys_error("eventfd");
    if (stop.stop_possible())
        on_stop_ = std::make_unique<std::stop_callback<std::function<void()>>>(
            std::move(stop), [this] { cancel(); });
}

Waiter::~Waiter() {
    on_stop_.reset();
    ::close(wake_);
}

void Waiter::cancel() noexcept {
    cancelled_ = true;
    ::eventfd_write(wake_, 1);
}

void Waiter::wait(int fd, short events, const std::string& name) {
    for (;;) {
        pollfd p[2] = {{fd, events, 0}, {wake_, POLLIN, 0}};
        if (::poll(p, 2, -1) < 0 && errno != EINTR)
            throw sys_error("poll " + name);
        if (cancelled_)
            throw Interrupted();
        if (p[0].revents)
            return;
    }
}

std::size_t FdSource::read(std::span<std::byte> buffer) {
    for (;;) {
        waiter_.wait(fd_, POLLIN, name_);
        ssize_t n = ::read(fd_, buffer.data(), buffer.size());
        if (n >= 0)
            return static_cast<std::size_t>(n);
        if (errno != EINTR && errno != EAGAIN)
            throw sys_error("read " + name_).with_kind(ErrorKind::io);
    }
}

FdSink::FdSink(int fd, std::string name, std::stop_token stop) : fd_(fd), name_(std::move(name)) {
    struct stat st;
    if (::fstat(fd, &st) != 0 || S_ISREG(st.st_mode) || S_ISBLK(st.st_mode))
        return;
    waiter_ = std::make_unique<Waiter>(std::move(stop));
    // poll(2) says "writable" when one page is free; a larger write would then block where no stop
    // can reach it. O_NONBLOCK on the descriptor would change it for the shell and its other
    // programs too, so a pipe is opened anew. Where that is refused (another user's pipe) writes
    // may block.
    if (S_ISFIFO(st.st_mode))
        own_ = UniqueFd(::open(("/proc/self/fd/" + std::to_string(fd)).c_str(),
                               O_WRONLY | O_NONBLOCK | O_CLOEXEC));
    if (own_)
        fd_ = own_.get();
}

void FdSink::write(Bytes data) {
    while (!data.empty()) {
        if (waiter_)
            waiter_->wait(fd_, POLLOUT, name_);
        ssize_t n = ::write(fd_, data.data(), data.size());
        if (n < 0) {
            if (errno == EINTR || errno == EAGAIN)
                continue;
            if (errno == EPIPE)
                throw BrokenPipe();
            throw sys_error("write " + name_).with_kind(ErrorKind::io);
        }
        data = data.subspan(static_cast<std::size_t>(n));
    }
}

std::size_t MemorySource::read(std::span<std::byte> buffer) {
    std::size_t n = std::min(buffer.size(), data_.size());
    std::copy_n(data_.begin(), n, buffer.begin());
    data_ = data_.subspan(n);
    return n;
}

void MemorySink::write(Bytes data) {
    text.append(reinterpret_cast<const char*>(data.data()), data.size());
}

std::size_t read_full(Source& source, std::span<std::byte> buffer) {
    std::size_t done = 0;
    while (done < buffer.size()) {
        std::size_t n = source.read(buffer.subspan(done));
        if (n == 0)
            break;
        done += n;
    }
    return done;
}

} // namespace zl
