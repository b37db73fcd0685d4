#include "base/random.hpp"

#include "base/error.hpp"

#include <sys/random.h>

#include <array>
#include <cerrno>

namespace zl {

std::string random_hex(std::size_t digits) {
    std::array<unsigned char, 64> bytes;
    if (digits > bytes.size())
        throw Error(ErrorKind::internal, "too many random digits");
    // Up to 256 bytes come whole once the kernel has them; only until then can a signal interrupt.
    while (::getrandom(bytes.data(), digits, 0) != static_cast<ssize_t>(digits))
        if (errno != EINTR)
            throw sys_error("getrandom").with_kind(ErrorKind::io);
    std::string text;
    for (std::size_t i = 0; i < digits; ++i)
        text += "0123456789abcdef"[bytes[i] & 15];
    return text;
}

} // namespace zl
