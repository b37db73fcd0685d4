#include "stream/stream.hpp"

#include "base/error.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace zl {

FdSource::FdSource(int fd, std::string name, std::stop_token stop)
    : fd_(fd), name_(std::move(name)), wake_(::eventfd(0, EFD_CLOEXEC)) {
    if (wake_ < 0)
        throw sys_error("eventfd");
    if (stop.stop_possible())
        on_stop_ = std::make_unique<std::stop_callback<std::function<void()>>>(
            stop, [this] { cancel(); });
}

FdSource::~FdSource() {
    on_stop_.reset();
    ::close(wake_);
}

void FdSource::cancel() noexcept {
    cancelled_ = true;
    ::eventfd_write(wake_, 1);
}

std::size_t FdSource::read(std::span<std::byte> buffer) {
    for (;;) {
        pollfd p[2] = {{fd_, POLLIN, 0}, {wake_, POLLIN, 0}};
        if (::poll(p, 2, -1) < 0 && errno != EINTR)
            throw sys_error("poll " + name_);
        if (cancelled_)
            throw Interrupted();
        if (p[0].revents == 0)
            continue;
        ssize_t n = ::read(fd_, buffer.data(), buffer.size());
        if (n >= 0)
            return static_cast<std::size_t>(n);
        if (errno != EINTR && errno != EAGAIN)
            throw sys_error("read " + name_).with_kind(ErrorKind::io);
    }
}

void FdSink::write(Bytes data) {
    while (!data.empty()) {
        ssize_t n = ::write(fd_, data.data(), data.size());
        if (n < 0) {
            if (errno == EINTR)
                continue;
            if (errno == EAGAIN) {
                pollfd p{fd_, POLLOUT, 0};
                ::poll(&p, 1, -1);
                continue;
            }
            if (errno == EPIPE)
                throw BrokenPipe();
            throw sys_error("write " + name_).with_kind(ErrorKind::io);
        }
        data = data.subspan(static_cast<std::size_t>(n));
    }
}

std::size_t MemorySource::read(std::span<std::byte> buffer) {
    std::size_t n = std::min(buffer.size(), data_.size());
    std::memcpy(buffer.data(), data_.data(), n);
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
