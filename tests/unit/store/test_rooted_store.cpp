/// A directory store whose directory is swapped for another while it is in use.
#include "../temp_dir.hpp"
#include "conformance.hpp"
#include "store/rooted_store.hpp"

#include <doctest/doctest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

using namespace zl;
using conformance::error_of;
using conformance::keys;
using conformance::text_of;
namespace fs = std::filesystem;

namespace {

struct Bench {
    std::unique_ptr<ObjectStore> open() {
        return open_local_store(StoreUrl::parse(root), {}, log);
    }
    /// What is below a mount point when the disk is not there: a directory with nothing in it.
    void unmount() {
        fs::rename(root, dir / "disk");
        fs::create_directory(root);
    }
    void mount() {
        fs::remove_all(root);
        fs::rename(dir / "disk", root);
    }
    std::string id() const {
        std::ifstream in(root + "/.zl-store");
        std::ostringstream text;
        text << in.rdbuf();
        return text.str();
    }

    test::TempDir dir;
    std::string root = dir / "store";
    NullLog log;
};

void put(ObjectStore& s, const std::string& key) {
    s.put(key, MemoryBody("body of " + key));
}

} // namespace

TEST_SUITE_BEGIN("store/rooted_store");

TEST_CASE("nothing is written to, nor believed of, an empty directory in the store's place") {
    Bench b;
    auto store = b.open();
    put(*store, "a");
    const std::string upload = store->create_upload("u", {});
    const std::string etag = store->upload_part("u", upload, 1, MemoryBody("x"));
    bool gone = false;
    SUBCASE("empty") { b.unmount(); }
    SUBCASE("gone") {
        gone = true;
        fs::rename(b.root, b.dir / "disk");
    }
    SUBCASE("a file") {
        gone = true;
        fs::rename(b.root, b.dir / "disk");
        std::ofstream(b.root) << "x";
    }
    SUBCASE("another store") {
        fs::rename(b.root, b.dir / "disk");
        auto other = b.open();
        put(*other, "a");
        fs::remove(b.root + "/a");
    }
    const std::vector<std::function<void()>> operations = {
        [&] { put(*store, "b"); },
        [&] { store->head("a"); },
        [&] { text_of(*store, "a"); },
        [&] { store->remove("a"); },
        [&] { keys(*store, ""); },
        [&] { store->create_upload("v", {}); },
        [&] { store->upload_part("u", upload, 2, MemoryBody("y")); },
        [&] { store->list_parts("u", upload); },
        [&] { store->complete_upload("u", upload, {{1, 1, etag}}); },
        [&] { store->abort_upload("u", upload); },
        [&] { store->list_uploads(""); },
        [&] { store->check_writable("a"); },
    };
    for (std::size_t i = 0; i < operations.size(); ++i) {
        INFO(i);
        CHECK(error_of(operations[i]) == ErrorKind::transient);
    }
    if (!gone) // nothing came into it
        for (const auto& entry : fs::directory_iterator(b.root))
            CHECK(entry.path().filename() == ".zl-store");
    b.mount();
    put(*store, "b");
    CHECK(keys(*store, "") == std::vector<std::string>{"a", "b"});
    store->complete_upload("u", upload, {{1, 1, etag}});
    CHECK(text_of(*store, "u") == "x");
}

TEST_CASE("what went to the wrong place meanwhile is not called stored, nor absent") {
    Bench b;
    auto store = b.open();
    put(*store, "a");
    class Unmounting final : public Body {
    public:
        explicit Unmounting(Bench& bench) : bench_(bench) {}
        std::uint64_t size() const override { return 1; }
        void read(std::uint64_t, std::span<std::byte> buffer) const override {
            buffer[0] = std::byte(1);
            if (!fs::exists(bench_.dir / "disk")) // a store may try again
                bench_.unmount();
        }

    private:
        Bench& bench_;
    };
    CHECK(error_of([&] { store->put("d/b", Unmounting(b)); }) == ErrorKind::transient);
    b.mount();
    CHECK(error_of([&] {
              store->list("", {}, [&](const ObjectInfo&) {
                  b.unmount();
                  return true;
              });
          }) == ErrorKind::transient);
}

TEST_CASE("the same store is known by its id: a copy, another mount") {
    Bench b;
    auto store = b.open();
    put(*store, "a");
    const std::string id = b.id();
    CHECK(id.size() == sizeof(R"({"id":""})") + 32);
    fs::copy(b.root, b.dir / "copy", fs::copy_options::recursive);
    fs::rename(b.root, b.dir / "old");
    fs::rename(b.dir / "copy", b.root);
    put(*store, "b");
    CHECK(fs::exists(b.root + "/b"));
    CHECK(b.id() == id);
    put(*b.open(), "c"); // another process keeps it
    CHECK(b.id() == id);
    CHECK(keys(*store, "") == std::vector<std::string>{"a", "b", "c"});
}

TEST_CASE("a store of old has no id; its first write makes one") {
    Bench b;
    fs::create_directory(b.root);
    std::ofstream(b.root + "/a") << "x";
    auto store = b.open();
    CHECK(text_of(*store, "a") == "x");
    CHECK(b.id().empty()); // reading makes nothing
    // Without an id the device is compared: a directory of the same one is believed.
    fs::rename(b.root, b.dir / "disk");
    fs::copy(b.dir / "disk", b.root);
    CHECK(text_of(*store, "a") == "x");
    SUBCASE("writable") {
        put(*store, "b");
        CHECK(!b.id().empty());
        fs::remove_all(b.dir / "disk");
        b.unmount();
        CHECK(error_of([&] { store->head("a"); }) == ErrorKind::transient);
    }
    SUBCASE("its root is not to be written to, the directory of the key is") {
        // A directory in the id's place refuses root as well.
        fs::create_directories(b.root + "/.zl-store/x");
        put(*store, "d/b");
        CHECK(text_of(*store, "d/b") == "body of d/b");
    }
    SUBCASE("its id is damaged") {
        std::ofstream(b.root + "/.zl-store") << "{\"id\":";
        put(*store, "b");
        CHECK(text_of(*store, "b") == "body of b");
    }
}

TEST_SUITE_END();
