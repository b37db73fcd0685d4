/// The directory store: keys are files. User metadata, which S3 keeps in headers, is in a hidden
/// JSON file beside the object; uploads under way are directories below `.zl-uploads`.
///
/// Durability: an object's bytes are fsynced before its name appears, the name before put() returns
/// (AtomicFile). The metadata file is renamed first; it names size and mtime of its object, so that
/// a crash between the two leaves an object without metadata, never one with another's. A metadata
/// file that cannot be understood is none: the object is what its bytes prove.
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/handle.hpp"
#include "base/json.hpp"
#include "base/random.hpp"
#include "store/open_store.hpp"
#include "store/rooted_store.hpp"
#include "stream/hash.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <tuple>

namespace zl {

namespace {

constexpr const char* kUploadsDir = ".zl-uploads";
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

/// Names content as well as a file system can: rename() keeps all three.
std::string etag_of(const struct stat& st) {
    return hex(st.st_ino) + "-" + hex(static_cast<std::uint64_t>(st.st_size)) + "-" +
           hex(mtime_ns(st));
}

/// What ties a metadata file to its object; survives a copy of the whole store with `cp -a`.
std::string stamp_of(const struct stat& st) {
    return hex(static_cast<std::uint64_t>(st.st_size)) + "-" + hex(mtime_ns(st));
}

TimePoint time_of(const struct stat& st) {
    return TimePoint(Millis(mtime_ns(st) / 1000000u));
}

/// Names that the store itself uses.
bool is_hidden(std::string_view name) {
    return name.starts_with(".");
}

void check_key(const std::string& key) {
    auto bad = [&](const std::string& why) {
        return Error(ErrorKind::usage, "key \"" + key + "\": " + why);
    };
    if (key.empty() || key.size() > 1024)
        throw bad("1 to 1024 bytes are possible");
    std::size_t at = 0;
    while (at <= key.size()) {
        std::size_t slash = std::min(key.find('/', at), key.size());
        std::string_view part = std::string_view(key).substr(at, slash - at);
        if (part.empty() || is_hidden(part) || part.size() > 200 ||
            part.find('\0') != std::string_view::npos)
            throw bad("a directory store cannot hold the component \"" + std::string(part) + "\"");
        at = slash + 1;
    }
}

/// Who may do what a refusal was about: the nearest above @p place that may be looked at refused.
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

/// Error from errno, with a way out of a refusal. @p place: what it depends on.
Error failed(const std::string& what, const std::string& place) {
    Error e = sys_error(what);
    return e.kind() == ErrorKind::denied ? e.with_hint(whose(place)) : e;
}

/// Of our own small files, where damage is the same as absence.
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

/// Of `00001.part`.
std::optional<int> part_number(std::string_view name) {
    int n = 0;
    if (name.size() != 10 || !name.ends_with(".part") || name.find_first_not_of("0123456789") != 5)
        return std::nullopt;
    std::from_chars(name.data(), name.data() + 5, n);
    return n >= 1 && n <= 10000 ? std::optional(n) : std::nullopt;
}

struct Name {
    std::string text; ///< directories end in `/`, so that the order is that of keys
    struct stat st;
};

class LocalStore final : public ObjectStore {
public:
    LocalStore(std::string root, const StoreOptions& options)
        : root_(std::move(root)), stop_(options.stop) {}

    std::string identity() const override { return "file://" + root_; }
    std::string describe(const std::string& key) const override { return root_ + "/" + key; }
    void check_writable(const std::string& key) override {
        check_key(key);
        // The nearest directory that exists: the others would be made in it.
        for (std::string dir = dir_name(path(key));; dir = dir_name(dir)) {
            if (::access(dir.c_str(), W_OK | X_OK) == 0)
                return;
            if (errno != ENOENT || dir == "/" || dir == ".")
                throw failed("write to " + dir, dir);
        }
    }

    std::optional<ObjectInfo> head(const std::string& key) override {
        check_key(key);
        struct stat st;
        if (::stat(path(key).c_str(), &st) != 0) {
            if (errno == ENOENT || errno == ENOTDIR)
                return std::nullopt;
            throw failed("stat " + path(key), path(key));
        }
        if (!S_ISREG(st.st_mode))
            return std::nullopt;
        return info(key, st);
    }

    std::optional<ObjectInfo> get(const std::string& key, Sink& sink,
                                  const GetOptions& options) override {
        check_key(key);
        UniqueFd fd(::open(path(key).c_str(), O_RDONLY | O_CLOEXEC));
        if (!fd) {
            if (errno == ENOENT || errno == ENOTDIR)
                return std::nullopt;
            throw failed("open " + path(key), path(key));
        }
        struct stat st;
        if (::fstat(fd.get(), &st) != 0)
            throw sys_error("stat " + path(key));
        if (!S_ISREG(st.st_mode))
            return std::nullopt;
        ObjectInfo result = info(key, st);
        if (!options.if_match.empty() && options.if_match != result.etag)
            throw Error(ErrorKind::conflict, path(key) + ": changed since it was looked at");
        ByteRange range = options.range.value_or(ByteRange{0, result.size});
        if (range.offset > result.size || range.length > result.size - range.offset)
            throw Error(ErrorKind::data, path(key) + ": has " + std::to_string(result.size) +
                                             " bytes, wanted " + std::to_string(range.length) +
                                             " from " + std::to_string(range.offset));
        copy(FileBody(fd.get(), range.offset, range.length, path(key)), sink, options.on_bytes);
        return result;
    }

    std::string put(const std::string& key, const Body& body, const PutOptions& options) override {
        check_key(key);
        return with_parent(path(key), [&] {
            AtomicFile file(path(key), 0666, !options.if_none_match);
            FunctionSink sink([&](Bytes b) { file.write(b); });
            copy(body, sink, options.on_bytes);
            return publish(key, file, options.meta, options.if_none_match);
        });
    }

    void remove(const std::string& key) override {
        check_key(key);
        ::unlink(meta_path(key).c_str());
        if (::unlink(path(key).c_str()) != 0 && errno != ENOENT && errno != ENOTDIR)
            throw failed("remove " + path(key), dir_name(path(key)));
        // S3 has no empty directories either.
        for (std::string d = dir_name(path(key)); d.size() > root_.size(); d = dir_name(d))
            if (::rmdir(d.c_str()) != 0)
                break;
    }

    void list(const std::string& prefix, const ListOptions& options,
              const std::function<bool(const ObjectInfo&)>& visit) override {
        auto slash = prefix.rfind('/');
        std::string dir = slash == std::string::npos ? "" : prefix.substr(0, slash + 1);
        if (dir.starts_with("/") || dir.find("//") != std::string::npos ||
            ("/" + dir).find("/.") != std::string::npos)
            return; // no key can be there
        walk(dir, prefix, options, visit);
    }

    std::string create_upload(const std::string& key, const PutOptions& options) override {
        check_key(key);
        std::string id = random_hex(32);
        Json j;
        j["key"] = key;
        j["meta"] = options.meta;
        return with_parent(upload_dir(id) + "/upload.json", [&] {
            AtomicFile file(upload_dir(id) + "/upload.json");
            file.write(dump_json(j));
            file.commit();
            return id;
        });
    }

    std::string upload_part(const std::string& key, const std::string& id, int number,
                            const Body& body,
                            const std::function<void(std::int64_t)>& on_bytes) override {
        upload(key, id);
        AtomicFile file(part_path(id, number));
        FunctionSink sink([&](Bytes b) { file.write(b); });
        copy(body, sink, on_bytes);
        struct stat st;
        if (::fstat(file.fd(), &st) != 0)
            throw sys_error("stat part");
        file.commit();
        return etag_of(st);
    }

    std::string upload_part_copy(const std::string& key, const std::string& id, int number,
                                 const std::string& source_key, const std::string& source_etag,
                                 ByteRange range) override {
        check_key(source_key);
        UniqueFd fd = open_file(path(source_key), O_RDONLY);
        struct stat st;
        if (::fstat(fd.get(), &st) != 0)
            throw sys_error("stat " + path(source_key));
        if (etag_of(st) != source_etag)
            throw Error(ErrorKind::conflict, path(source_key) + ": changed since it was looked at");
        if (range.offset + range.length > static_cast<std::uint64_t>(st.st_size))
            throw Error(ErrorKind::data, path(source_key) + ": shorter than the range to copy");
        return upload_part(key, id, number,
                           FileBody(fd.get(), range.offset, range.length, path(source_key)), {});
    }

    std::vector<PartInfo> list_parts(const std::string& key, const std::string& id) override {
        upload(key, id);
        std::vector<PartInfo> parts;
        for (const Name& n : names(upload_dir(id))) {
            if (auto number = part_number(n.text))
                parts.push_back({*number, static_cast<std::uint64_t>(n.st.st_size), etag_of(n.st),
                                 time_of(n.st)});
        }
        return parts;
    }

    void complete_upload(const std::string& key, const std::string& id,
                         const std::vector<PartInfo>& parts) override {
        Json j = upload(key, id);
        std::vector<PartInfo> have = list_parts(key, id);
        if (parts.empty())
            throw Error(ErrorKind::data, "upload of " + key + " has no parts");
        with_parent(path(key), [&] {
            AtomicFile file(path(key));
            FunctionSink sink([&](Bytes b) { file.write(b); });
            int previous = 0;
            for (const PartInfo& p : parts) {
                auto found = std::find_if(have.begin(), have.end(),
                                          [&](const PartInfo& h) { return h.number == p.number; });
                if (p.number <= previous || found == have.end() || found->etag != p.etag)
                    throw Error(ErrorKind::data, "upload of " + key + ": part " +
                                                     std::to_string(p.number) +
                                                     " is not the one that was stored");
                previous = p.number;
                UniqueFd fd = open_file(part_path(id, p.number), O_RDONLY);
                copy(FileBody(fd.get(), 0, found->size, part_path(id, p.number)), sink, {});
            }
            return publish(key, file, meta_in(j), false);
        });
        abort_upload(key, id);
    }

    void abort_upload(const std::string&, const std::string& id) override {
        if (!valid_id(id))
            return;
        // upload.json first: without it the upload is gone, whatever a crash leaves of the parts.
        ::unlink((upload_dir(id) + "/upload.json").c_str());
        for (const Name& n : names(upload_dir(id), true))
            ::unlink((upload_dir(id) + "/" + n.text).c_str());
        ::rmdir(upload_dir(id).c_str());
    }

    std::vector<UploadInfo> list_uploads(const std::string& prefix) override {
        std::vector<UploadInfo> out;
        for (const Name& n : names(root_ + "/" + kUploadsDir)) {
            std::string id = n.text.substr(0, n.text.size() - 1);
            std::string file = upload_dir(id) + "/upload.json";
            struct stat st;
            auto text = read_file(file);
            if (!text)
                continue;
            if (::stat(file.c_str(), &st) != 0) {
                if (errno == ENOENT)
                    continue;
                throw failed("stat " + file, file);
            }
            if (auto key = text_in(parse_or_null(*text), "key"); key && key->starts_with(prefix))
                out.push_back({*key, id, time_of(st)});
        }
        std::sort(out.begin(), out.end(), [](const UploadInfo& a, const UploadInfo& b) {
            return std::tie(a.key, a.upload_id) < std::tie(b.key, b.upload_id);
        });
        return out;
    }

    Millis clock_offset() const override { return Millis(0); }
    std::uint64_t preferred_put_limit() const override { return UINT64_MAX; }

private:
    std::string path(const std::string& key) const { return root_ + "/" + key; }
    std::string meta_path(const std::string& key) const {
        auto slash = key.rfind('/');
        std::size_t at = slash == std::string::npos ? 0 : slash + 1;
        return root_ + "/" + key.substr(0, at) + "." + key.substr(at) + ".zl-meta";
    }
    std::string upload_dir(const std::string& id) const {
        return root_ + "/" + kUploadsDir + "/" + id;
    }
    std::string part_path(const std::string& id, int number) const {
        if (number < 1 || number > 10000)
            throw Error(ErrorKind::usage,
                        "part number " + std::to_string(number) + ": 1 to 10000 are possible");
        char name[16];
        std::snprintf(name, sizeof name, "%05d.part", number);
        return upload_dir(id) + "/" + name;
    }
    static bool valid_id(const std::string& id) {
        return id.size() == 32 && id.find_first_not_of("0123456789abcdef") == std::string::npos;
    }

    /// The upload's description; gone if there is none for this key.
    Json upload(const std::string& key, const std::string& id) {
        auto text = valid_id(id) ? read_file(upload_dir(id) + "/upload.json") : std::nullopt;
        if (text)
            if (Json j = parse_or_null(*text); text_in(j, "key") == key)
                return j;
        throw Error(ErrorKind::gone, "upload " + id + " of " + key + " does not exist");
    }

    ObjectInfo info(const std::string& key, const struct stat& st) {
        ObjectInfo i;
        i.key = key;
        i.size = static_cast<std::uint64_t>(st.st_size);
        i.etag = etag_of(st);
        i.last_modified = time_of(st);
        if (auto text = read_file(meta_path(key)))
            if (const Json j = parse_or_null(*text); text_in(j, "object") == stamp_of(st))
                i.meta = meta_in(j);
        return i;
    }

    /// Gives @p file its name; returns its ETag.
    std::string publish(const std::string& key, AtomicFile& file, const ObjectMeta& meta,
                        bool create_only) {
        struct stat st;
        if (::fstat(file.fd(), &st) != 0)
            throw sys_error("stat " + path(key));
        auto put_meta = [&] {
            if (meta.empty())
                return;
            Json j;
            j["object"] = stamp_of(st);
            j["meta"] = meta;
            AtomicFile beside(meta_path(key));
            beside.write(dump_json(j) + "\n");
            beside.commit();
        };
        if (!create_only) // else the name may be another's object, with metadata of its own
            put_meta();
        try {
            file.commit();
        } catch (Error& e) {
            if (e.kind() == ErrorKind::exists)
                e.with_kind(ErrorKind::conflict);
            throw;
        }
        if (create_only)
            put_meta();
        return etag_of(st);
    }

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

    /// Proves what it copied where the body knows its hash.
    void copy(const Body& body, Sink& sink, const std::function<void(std::int64_t)>& on_bytes) {
        const std::string wanted = body.sha256();
        Hasher hash;
        std::vector<std::byte> buffer(
            static_cast<std::size_t>(std::min<std::uint64_t>(kCopyStep, body.size())));
        for (std::uint64_t at = 0; at < body.size();) {
            if (stop_.stop_requested())
                throw Interrupted();
            auto n =
                static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), body.size() - at));
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

    /// Sorted names of a directory; missing directory: none.
    std::vector<Name> names(const std::string& dir, bool hidden = false) {
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
        std::sort(out.begin(), out.end(),
                  [](const Name& a, const Name& b) { return a.text < b.text; });
        return out;
    }

    bool walk(const std::string& dir, const std::string& prefix, const ListOptions& options,
              const std::function<bool(const ObjectInfo&)>& visit) {
        for (const Name& n : names(root_ + "/" + dir)) {
            std::string key = dir + n.text;
            bool below = key.starts_with(prefix);
            if (!below && !prefix.starts_with(key))
                continue;
            bool is_dir = key.back() == '/';
            // A directory may hold keys after start_after even if its own name is before it.
            if (key <= options.start_after && !(is_dir && options.start_after.starts_with(key)))
                continue;
            if (!is_dir) {
                if (S_ISREG(n.st.st_mode) && !visit(object_row(key, n.st)))
                    return false;
            } else if (below && options.delimiter) {
                if (key > options.start_after && has_objects(key) && !visit(prefix_row(key)))
                    return false;
            } else if (!walk(key, prefix, options, visit)) {
                return false;
            }
        }
        return true;
    }

    bool has_objects(const std::string& dir) {
        return !walk(dir, dir, {}, [](const ObjectInfo&) { return false; });
    }
    static ObjectInfo object_row(const std::string& key, const struct stat& st) {
        return {key, static_cast<std::uint64_t>(st.st_size), etag_of(st), time_of(st), {}};
    }
    static ObjectInfo prefix_row(const std::string& key) { return {key, 0, "", {}, {}}; }

    std::string root_;
    std::stop_token stop_;
};

} // namespace

std::unique_ptr<ObjectStore> open_local_store(const StoreUrl& url, const StoreOptions& options,
                                              Log&) {
    return keep_to_root(std::make_unique<LocalStore>(url.path, options), url.path);
}

} // namespace zl
