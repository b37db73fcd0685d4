/// What a directory store makes of a directory that somebody else has changed.
#include "../temp_dir.hpp"
#include "conformance.hpp"
#include "store/open_store.hpp"

#include <doctest/doctest.h>

#include <stdlib.h>

#include <filesystem>
#include <fstream>

using namespace zl;
using conformance::error_of;
using conformance::keys;
using conformance::text_of;
namespace fs = std::filesystem;

namespace {

struct Bench {
    void write(const std::string& name, const std::string& text) {
        std::ofstream(dir / name) << text;
    }
    std::string upload_file(const std::string& id, const std::string& name) {
        return ".zl-uploads/" + id + "/" + name;
    }

    test::TempDir dir;
    NullLog log;
    std::unique_ptr<ObjectStore> store = open_local_store(StoreUrl::parse(dir.path()), {}, log);
};

} // namespace

TEST_SUITE_BEGIN("store/local_store");

TEST_CASE("what cannot be looked at is not left out of a listing") {
    // A prune took the layers of a name for nobody's when it could not look at its refs.
    Bench b;
    b.store->put("refs/web/1", MemoryBody("x"));
    fs::create_symlink("round", b.dir / "refs/round"); // ELOOP, which root gets too
    CHECK(error_of([&] { keys(*b.store, "refs/"); }) == ErrorKind::io);
    fs::remove(b.dir / "refs/round");
    fs::create_symlink("/nonexistent/mount", b.dir / "refs/web2");
    CHECK(error_of([&] { keys(*b.store, ""); }) == ErrorKind::io);
    fs::remove(b.dir / "refs/web2");
    fs::create_directory_symlink(b.dir / "refs/web", b.dir / "refs/web3"); // is followed
    CHECK(keys(*b.store, "") == std::vector<std::string>{"refs/web/1", "refs/web3/1"});
}

TEST_CASE("metadata that makes no sense is none; the object stays what it is") {
    Bench b;
    PutOptions options;
    options.meta["a"] = "b";
    b.store->put("k", MemoryBody("body"), options);
    REQUIRE(b.store->head("k")->meta == options.meta);
    std::ifstream in(b.dir / ".k.zl-meta");
    const std::string good((std::istreambuf_iterator<char>(in)), {});
    const std::string object = good.substr(0, good.find(",\"meta\""));
    REQUIRE(object.starts_with("{\"object\":"));
    for (const std::string& text :
         {std::string(), good.substr(0, good.size() / 2), std::string("5"), std::string("[]"),
          std::string("{\"object\":5}"), object + "}", object + ",\"meta\":5}",
          object + ",\"meta\":{\"a\":5}}", std::string("\0\xff", 2)}) {
        INFO(text);
        b.write(".k.zl-meta", text);
        CHECK(b.store->head("k")->meta.empty());
        CHECK(text_of(*b.store, "k") == "body");
    }
    b.write(".k.zl-meta", good);
    CHECK(b.store->head("k")->meta == options.meta);
}

TEST_CASE("an upload whose description is damaged is gone, and harms no other") {
    Bench b;
    const std::string id = b.store->create_upload("k", {}), other = b.store->create_upload("o", {});
    const std::string etag = b.store->upload_part("k", id, 1, MemoryBody("x"));
    for (const char* foreign : {"abcde.part", "00000.part", "10001.part", "-0001.part"})
        b.write(b.upload_file(id, foreign), "x");
    CHECK(b.store->list_parts("k", id).size() == 1);
    for (const char* text : {"", "{", "5", "{\"key\":5}"}) {
        INFO(text);
        b.write(b.upload_file(other, "upload.json"), text);
        CHECK(b.store->list_uploads("").size() == 1);
        CHECK(error_of([&] { b.store->list_parts("o", other); }) == ErrorKind::gone);
    }
    b.write(b.upload_file(id, "upload.json"), "{\"key\":\"k\",\"meta\":5}");
    b.store->complete_upload("k", id, {{1, 1, etag}});
    CHECK(text_of(*b.store, "k") == "x");
}

TEST_SUITE_END();
