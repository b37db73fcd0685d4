#include "notify.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstddef>
#include <cstring>

namespace zl {

namespace {

std::optional<long long> whole_number(const std::optional<std::string>& text) {
    long long value = 0;
    if (!text)
        return std::nullopt;
    auto [end, code] = std::from_chars(text->data(), text->data() + text->size(), value);
    if (code != std::errc() || end != text->data() + text->size() || value <= 0)
        return std::nullopt;
    return value;
}

} // namespace

Notifier::Notifier(const Environment& environment) {
    address_ = environment("NOTIFY_SOCKET").value_or("");
    // `@name` is Linux's abstract namespace; `vsock:` and relative paths are not for us.
    if (address_.size() < 2 || address_.size() >= sizeof(sockaddr_un::sun_path) ||
        (address_[0] != '/' && address_[0] != '@'))
        return;
    if (address_[0] == '@')
        address_[0] = '\0';
    socket_ = UniqueFd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));

    const auto pid = whole_number(environment("WATCHDOG_PID"));
    if (auto period = whole_number(environment("WATCHDOG_USEC"));
        period && (!pid || *pid == ::getpid()))
        watchdog_ = Millis(std::max(*period / 2000, 1LL));
}

void Notifier::send(std::string_view assignments) const {
    if (!active())
        return;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, address_.data(), address_.size());
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address_.size() +
                                             (address_[0] == '\0' ? 0 : 1));
    // A manager whose queue is full must not hold up the replication.
    [[maybe_unused]] ssize_t sent =
        ::sendto(socket_.get(), assignments.data(), assignments.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                 reinterpret_cast<const sockaddr*>(&address), size);
}

} // namespace zl
