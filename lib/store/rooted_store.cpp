#include "store/rooted_store.hpp"

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "base/random.hpp"
#include "store/forwarding_store.hpp"
#include "store/local_files.hpp"

#include <sys/stat.h>

#include <cerrno>
#include <mutex>
#include <type_traits>

namespace zl {

namespace {

constexpr const char* kIdFile = "/.zl-store";

class Root {
public:
    explicit Root(std::string path) : path_(std::move(path)) {}

    /// Throws when it is not the directory that was seen first.
    void check() {
        std::lock_guard lock(mutex_);
        look();
    }

    /// Before a write: makes the directory and its id if they are not there.
    void prepare() {
        std::lock_guard lock(mutex_);
        look();
        if (prepared_)
            return;
        prepared_ = true;
        try {
            make_dirs(path_);
            if (!seen_ || seen_->id.empty())
                write_id();
            // Then the id is looked at: on overlayfs a first write changes the inode too.
            if (seen_)
                seen_->inode = 0;
            look();
        } catch (const Error&) {
            // A store whose root is not ours to write to works without; what is really wrong, the
            // write itself tells better.
        }
    }

private:
    struct Seen {
        dev_t device;
        ino_t inode;
        std::string id; ///< empty: it has none
    };

    void look() {
        struct stat st {};
        if (::stat(path_.c_str(), &st) != 0) {
            if (errno != ENOENT && errno != ENOTDIR)
                throw local::failed("stat " + path_, path_);
            if (seen_)
                throw lost("is gone");
            return;
        }
        if (seen_ && st.st_dev == seen_->device && st.st_ino == seen_->inode)
            return;
        Seen now{st.st_dev, st.st_ino, S_ISDIR(st.st_mode) ? read_id() : ""};
        if (seen_) {
            const bool is_same =
                S_ISDIR(st.st_mode) &&
                (seen_->id.empty() ? now.device == seen_->device : now.id == seen_->id);
            if (!is_same)
                throw lost("is not the one that it was at first");
        } else if (!S_ISDIR(st.st_mode)) {
            return; // nothing to be known by yet: the operation says what it thinks of a file
        }
        seen_ = std::move(now);
    }

    Error lost(const std::string& what) const {
        return Error(ErrorKind::transient, "the directory store " + path_ + " " + what,
                     "mount it again or put it back, and it goes on; if it is meant to be another "
                     "store now, start again");
    }

    /// Empty: there is none that can be read. Damage is the same as absence.
    std::string read_id() const {
        try {
            const auto text = read_file(path_ + kIdFile, 4096);
            return text ? json_string(parse_json(*text, kIdFile), "id", kIdFile) : "";
        } catch (const Error&) {
            return "";
        }
    }

    void write_id() const {
        Json j;
        j["id"] = random_hex(32);
        AtomicFile file(path_ + kIdFile, 0666, false);
        file.write(dump_json(j) + "\n");
        try {
            file.commit();
        } catch (const Error& e) {
            if (e.kind() != ErrorKind::exists) // else another process was first: that one counts
                throw;
        }
    }

    const std::string path_;
    std::mutex mutex_;
    std::optional<Seen> seen_; ///< none: it was not there yet
    bool prepared_ = false;
};

class RootedStore final : public ForwardingStore {
    /// Also what is not there, or was removed, must have been so in the right place.
    template <typename F>
    auto reading(F operation) {
        root_.check();
        return checked(operation);
    }
    template <typename F>
    auto writing(F operation) {
        root_.prepare();
        return checked(operation);
    }
    template <typename F>
    auto checked(F operation) {
        try {
            if constexpr (std::is_void_v<decltype(operation())>) {
                operation();
                root_.check();
            } else {
                auto result = operation();
                root_.check();
                return result;
            }
        } catch (const Error&) {
            root_.check(); // the wrong place is why
            throw;
        }
    }

public:
    RootedStore(std::unique_ptr<ObjectStore> store, std::string root)
        : ForwardingStore(*store), store_(std::move(store)), root_(std::move(root)) {}

    void check_writable(const std::string& key) override {
        reading([&] { inner_.check_writable(key); });
    }
    std::optional<ObjectInfo> head(const std::string& key) override {
        return reading([&] { return inner_.head(key); });
    }
    std::optional<ObjectInfo> get(const std::string& key, Sink& sink,
                                  const GetOptions& options) override {
        return reading([&] { return inner_.get(key, sink, options); });
    }
    std::string put(const std::string& key, const Body& body, const PutOptions& options) override {
        return writing([&] { return inner_.put(key, body, options); });
    }
    void remove(const std::string& key) override {
        reading([&] { inner_.remove(key); });
    }
    void list(const std::string& prefix, const ListOptions& options,
              const std::function<bool(const ObjectInfo&)>& visit) override {
        reading([&] { inner_.list(prefix, options, visit); });
    }
    std::string create_upload(const std::string& key, const PutOptions& options) override {
        return writing([&] { return inner_.create_upload(key, options); });
    }
    std::string upload_part(const std::string& key, const std::string& id, int number,
                            const Body& body,
                            const std::function<void(std::int64_t)>& on_bytes) override {
        return writing([&] { return inner_.upload_part(key, id, number, body, on_bytes); });
    }
    std::string upload_part_copy(const std::string& key, const std::string& id, int number,
                                 const std::string& source, const std::string& etag,
                                 ByteRange range) override {
        return writing(
            [&] { return inner_.upload_part_copy(key, id, number, source, etag, range); });
    }
    std::vector<PartInfo> list_parts(const std::string& key, const std::string& id) override {
        return reading([&] { return inner_.list_parts(key, id); });
    }
    void complete_upload(const std::string& key, const std::string& id,
                         const std::vector<PartInfo>& parts) override {
        writing([&] { inner_.complete_upload(key, id, parts); });
    }
    void abort_upload(const std::string& key, const std::string& id) override {
        reading([&] { inner_.abort_upload(key, id); });
    }
    std::vector<UploadInfo> list_uploads(const std::string& prefix) override {
        return reading([&] { return inner_.list_uploads(prefix); });
    }

private:
    std::unique_ptr<ObjectStore> store_;
    Root root_;
};

} // namespace

std::unique_ptr<ObjectStore> keep_to_root(std::unique_ptr<ObjectStore> store, std::string root) {
    return std::make_unique<RootedStore>(std::move(store), std::move(root));
}

} // namespace zl
