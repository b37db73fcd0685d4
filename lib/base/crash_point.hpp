/// Named places where a test build dies as if by kill -9, to prove what is on disk there.
/// Built with -Dcrash_points=true and run with ZL_CRASH_AT=NAME (or NAME:N for the Nth passage);
/// in ordinary builds it is nothing. The names are listed in lib/README.md. With ZL_PAUSE_AT=NAME
/// it stops there as if by kill -STOP, until SIGCONT.
#pragma once

#include "base/units.hpp"

#include <string_view>

#ifdef ZL_CRASH_POINTS
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#endif

namespace zl {

#ifdef ZL_CRASH_POINTS
namespace detail {
/// Whether @p variable names this passage of point @p name. @p passed counts passages of the one
/// named point only.
inline bool is_named(const char* variable, std::string_view name, long& passed, bool later_too) {
    const char* at = std::getenv(variable);
    if (!at || std::strncmp(at, name.data(), name.size()) != 0)
        return false;
    const char* rest = at + name.size();
    if (*rest != '\0' && *rest != ':')
        return false;
    long wanted = *rest == ':' ? std::strtol(rest + 1, nullptr, 10) : 1;
    ++passed;
    return later_too ? passed >= wanted : passed == wanted;
}
} // namespace detail

inline void crash_point(std::string_view name) {
    static long crashes = 0, pauses = 0;
    if (detail::is_named("ZL_CRASH_AT", name, crashes, true))
        std::raise(SIGKILL);
    if (detail::is_named("ZL_PAUSE_AT", name, pauses, false))
        ::kill(::getpid(), SIGSTOP); // the whole process, not only this thread
}

/// What a test may shorten: the duration in the environment variable @p name, if it is set.
inline Millis test_duration(const char* name, Millis usual) {
    const char* text = std::getenv(name);
    return text ? parse_duration(text) : usual;
}
#else
inline void crash_point(std::string_view) {}
inline Millis test_duration(const char*, Millis usual) {
    return usual;
}
#endif

} // namespace zl
