/// Named places where a test build dies as if by kill -9, to prove what is on disk there.
/// Built with -Dcrash_points=true and run with ZL_CRASH_AT=NAME (or NAME:N for the Nth passage);
/// in ordinary builds it is nothing. The names are listed in lib/README.md.
#pragma once

#include <string_view>

#ifdef ZL_CRASH_POINTS
#include <csignal>
#include <cstdlib>
#include <cstring>
#endif

namespace zl {

#ifdef ZL_CRASH_POINTS
inline void crash_point(std::string_view name) {
    const char* at = std::getenv("ZL_CRASH_AT");
    if (!at || std::strncmp(at, name.data(), name.size()) != 0)
        return;
    const char* rest = at + name.size();
    if (*rest != '\0' && *rest != ':')
        return;
    static long passed = 0; // only passages of the one named point are counted
    long wanted = *rest == ':' ? std::strtol(rest + 1, nullptr, 10) : 1;
    if (++passed >= wanted)
        std::raise(SIGKILL);
}
#else
inline void crash_point(std::string_view) {}
#endif

} // namespace zl
