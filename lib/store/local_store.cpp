/// The directory store: keys are files. User metadata, which S3 keeps in headers, is in a hidden
/// JSON file beside the object.
///
/// Durability: an object's bytes are fsynced before its name appears, the name before put() returns
/// (AtomicFile). The metadata file is renamed first; it names size and mtime of its object, so that
/// a crash between the two leaves an object without metadata, never one with another's. A metadata
/// file that cannot be understood is none: the object is what its bytes prove.
#include "base/error.hpp"
#include "base/file.hpp"
#include "store/local_files.hpp"
#include "store/local_uploads.hpp"
#include "store/open_store.hpp"
#include "store/rooted_store.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace zl {

namespace {

using namespace local;

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

class LocalStore final : public ObjectStore {
public:
    LocalStore(std::string root, const StoreOptions& options)
        : root_(std::move(root)), stop_(options.stop), uploads_(root_, stop_) {}

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
        copy(FileBody(fd.get(), range.offset, range.length, path(key)), sink, options.on_bytes,
             stop_);
        return result;
    }

    std::string put(const std::string& key, const Body& body, const PutOptions& options) override {
        check_key(key);
        return with_parent(path(key), [&] {
            AtomicFile file(path(key), 0666, !options.if_none_match);
            FunctionSink sink([&](Bytes b) { file.write(b); });
            copy(body, sink, options.on_bytes, stop_);
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
        return uploads_.create(key, options.meta);
    }

    std::string upload_part(const std::string& key, const std::string& id, int number,
                            const Body& body,
                            const std::function<void(std::int64_t)>& on_bytes) override {
        return uploads_.put_part(key, id, number, body, on_bytes);
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
        return uploads_.put_part(
            key, id, number, FileBody(fd.get(), range.offset, range.length, path(source_key)), {});
    }

    std::vector<PartInfo> list_parts(const std::string& key, const std::string& id) override {
        return uploads_.parts(key, id);
    }

    void complete_upload(const std::string& key, const std::string& id,
                         const std::vector<PartInfo>& parts) override {
        const ObjectMeta meta = uploads_.meta(key, id);
        if (parts.empty())
            throw Error(ErrorKind::data, "upload of " + key + " has no parts");
        with_parent(path(key), [&] {
            AtomicFile file(path(key));
            FunctionSink sink([&](Bytes b) { file.write(b); });
            uploads_.write_parts(key, id, parts, sink);
            return publish(key, file, meta, false);
        });
        uploads_.remove(id);
    }

    void abort_upload(const std::string&, const std::string& id) override { uploads_.remove(id); }

    std::vector<UploadInfo> list_uploads(const std::string& prefix) override {
        return uploads_.list(prefix);
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
    Uploads uploads_;
};

} // namespace

std::unique_ptr<ObjectStore> open_local_store(const StoreUrl& url, const StoreOptions& options,
                                              Log&) {
    return keep_to_root(std::make_unique<LocalStore>(url.path, options), url.path);
}

} // namespace zl
