#include "base/error.hpp"

#include <cctype>
#include <cerrno>
#include <system_error>

namespace zl {

Error& Error::add_context(std::string_view context) {
    message_ = std::string(context) + ": " + message_;
    return *this;
}

Error sys_error(std::string_view what) { return sys_error(what, errno); }

Error sys_error(std::string_view what, int errnum) {
    ErrorKind kind = ErrorKind::io;
    if (errnum == ENOENT)
        kind = ErrorKind::not_found;
    else if (errnum == EACCES || errnum == EPERM)
        kind = ErrorKind::denied;
    std::string reason = std::generic_category().message(errnum);
    if (!reason.empty())
        reason[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(reason[0])));
    return Error(kind, std::string(what) + ": " + reason);
}

} // namespace zl
