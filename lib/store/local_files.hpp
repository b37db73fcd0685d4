/// What a directory store does with files: how they are told apart, listed and copied.
#pragma once

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "store/object_store.hpp"

#include <sys/stat.h>

#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace zl::local {

/// Names content as well as a file system can: rename() keeps inode, size and time.
std::string etag_of(const struct stat& st);
/// What ties a metadata file to its object; survives a copy of the whole store with `cp -a`.
std::string stamp_of(const struct stat& st);
TimePoint time_of(const struct stat& st);

/// Names that the store itself uses.
inline bool is_hidden(std::string_view name) {
    return name.starts_with(".");
}

/// Who may do what a refusal was about: the nearest above @p place that may be looked at refused.
std::string whose(std::string place);
/// Error from errno, with a way out of a refusal. @p place: what it depends on.
Error failed(const std::string& what, const std::string& place);

/// Of our own small files, where damage is the same as absence.
Json parse_or_null(const std::string& text);
std::optional<std::string> text_in(const Json& j, const char* field);
/// Its field `meta`.
ObjectMeta meta_in(const Json& j);

struct Name {
    std::string text; ///< directories end in `/`, so that the order is that of keys
    struct stat st;
};
/// Sorted names of a directory; missing directory: none.
std::vector<Name> names(const std::string& dir, bool hidden = false);

/// Proves what it copied where the body knows its hash. Throws Interrupted.
void copy(const Body& body, Sink& sink, const std::function<void(std::int64_t)>& on_bytes,
          const std::stop_token& stop);

/// Runs @p write after making the directory of @p file; again when a remove() of another
/// process took the empty directory away in between.
template <typename F>
std::string with_parent(const std::string& file, F write) {
    for (int attempt = 0;; ++attempt) {
        try {
            make_dirs(dir_name(file));
            return write();
        } catch (Error& e) {
            if (e.kind() == ErrorKind::denied)
                throw e.with_hint(whose(dir_name(file)));
            if (e.kind() != ErrorKind::not_found || attempt == 5)
                throw;
        }
    }
}

} // namespace zl::local
