#include "store/local_files.hpp"

#include "base/handle.hpp"
#include "stream/hash.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace zl::local {

namespace {

constexpr std::size_t kCopyStep = 1 << 20;
using CloseDir = Handle<DIR, ::closedir>;

std::string hex(std::uint64_t v) {
    char text[17];
    std::snprintf(text, sizeof text, "%llx", static_cast<unsigned long long>(v));
    return text;
}

std::uint64_t mtime_ns(const struct stat& st) {
    return static_cast<std::uint64_t>(st.st_mtim.tv_sec) * 1000000000u +
           static_cast<std::uint64_t>(st.st_mtim.tv_nsec);
}

} // namespace

std::string etag_of(const struct stat& st) {
    return hex(st.st_ino) + "-" + hex(static_cast<std::uint64_t>(st.st_size)) + "-" +
           hex(mtime_ns(st));
}

std::string stamp_of(const struct stat& st) {
    return hex(static_cast<std::uint64_t>(st.st_size)) + "-" + hex(mtime_ns(st));
}

TimePoint time_of(const struct stat& st) {
    return TimePoint(Millis(mtime_ns(st) / 1000000u));
}

std::string whose(std::string place) {
    struct stat st {};
    while (::stat(place.c_str(), &st) != 0 && place != "/" && place != ".")
        place = dir_name(place);
    char text[96];
    std::snprintf(text, sizeof text,
                  " belongs to user %u, group %u, mode %04o, and this is user %u: ", st.st_uid,
                  st.st_gid, static_cast<unsigned>(st.st_mode & 07777), ::geteuid());
    return place + text + "run it as that user, or change the owner or mode of the store";
}

Error failed(const std::string& what, const std::string& place) {
    Error e = sys_error(what);
    return e.kind() == ErrorKind::denied ? e.with_hint(whose(place)) : e;
}

Json parse_or_null(const std::string& text) {
    try {
        return parse_json(text, "");
    } catch (const Error&) {
        return {};
    }
}

std::optional<std::string> text_in(const Json& j, const char* field) {
    auto it = j.find(field);
    return it != j.end() && it->is_string() ? std::optional(it->get<std::string>()) : std::nullopt;
}

ObjectMeta meta_in(const Json& j) {
    ObjectMeta meta;
    if (auto it = j.find("meta"); it != j.end() && it->is_object())
        for (const auto& [name, value] : it->items())
            if (value.is_string())
                meta[name] = value.get<std::string>();
    return meta;
}

std::vector<Name> names(const std::string& dir, bool hidden) {
    std::vector<Name> out;
    CloseDir d(::opendir(dir.c_str()));
    if (!d) {
        if (errno == ENOENT || errno == ENOTDIR)
            return out;
        throw failed("read directory " + dir, dir);
    }
    for (;;) {
        errno = 0;
        const dirent* e = ::readdir(d.get());
        if (!e && errno)
            throw sys_error("read directory " + dir).with_kind(ErrorKind::io);
        if (!e)
            break;
        std::string_view name = e->d_name;
        if (name == "." || name == ".." || (is_hidden(name) && !hidden))
            continue;
        Name n{std::string(name), {}};
        if (::fstatat(::dirfd(d.get()), e->d_name, &n.st, 0) != 0) {
            // Left out is only what was removed meanwhile. What cannot be looked at, or is a
            // link to where nothing is mounted now, may hold refs: a prune would take the
            // layers that they name for nobody's.
            const std::string entry = dir + (dir.ends_with("/") ? "" : "/") + n.text;
            const Error why = failed("stat " + entry, entry);
            if (why.kind() != ErrorKind::not_found)
                throw why;
            if (::fstatat(::dirfd(d.get()), e->d_name, &n.st, AT_SYMLINK_NOFOLLOW) != 0)
                continue;
            throw Error(ErrorKind::io, entry + ": a link to what is not there",
                        "mount what it leads to, or remove the link");
        }
        if (S_ISDIR(n.st.st_mode))
            n.text += '/';
        out.push_back(std::move(n));
    }
    std::sort(out.begin(), out.end(), [](const Name& a, const Name& b) { return a.text < b.text; });
    return out;
}

void copy(const Body& body, Sink& sink, const std::function<void(std::int64_t)>& on_bytes,
          const std::stop_token& stop) {
    const std::string wanted = body.sha256();
    Hasher hash;
    std::vector<std::byte> buffer(
        static_cast<std::size_t>(std::min<std::uint64_t>(kCopyStep, body.size())));
    for (std::uint64_t at = 0; at < body.size();) {
        if (stop.stop_requested())
            throw Interrupted();
        auto n = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), body.size() - at));
        body.read(at, std::span(buffer.data(), n));
        if (!wanted.empty())
            hash.update(Bytes(buffer.data(), n));
        sink.write(Bytes(buffer.data(), n));
        at += n;
        if (on_bytes)
            on_bytes(static_cast<std::int64_t>(n));
    }
    if (wanted.empty())
        return;
    if (const std::string is = hash.finish_hex(); is != wanted)
        throw Error(ErrorKind::io,
                    "the bytes to be stored have sha256 " + is + ", expected " + wanted);
}

} // namespace zl::local
