#include "conformance.hpp"
#include "stream/hash.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <thread>

using namespace zl;
using namespace zl::conformance;

namespace {

std::vector<PartInfo> upload_parts(ObjectStore& store, const std::string& key,
                                   const std::string& id, const std::vector<std::string>& bodies) {
    std::vector<PartInfo> parts;
    for (std::size_t i = 0; i < bodies.size(); ++i) {
        int number = static_cast<int>(i) + 1;
        parts.push_back(
            {number, bodies[i].size(), store.upload_part(key, id, number, MemoryBody(bodies[i]))});
    }
    return parts;
}

/// Runs @p work in @p count threads; rethrows the first failure.
void in_threads(unsigned count, const std::function<void(unsigned)>& work) {
    std::vector<std::exception_ptr> failures(count);
    std::vector<std::jthread> threads;
    for (unsigned i = 0; i < count; ++i)
        threads.emplace_back([&, i] {
            try {
                work(i);
            } catch (...) {
                failures[i] = std::current_exception();
            }
        });
    threads.clear();
    for (const std::exception_ptr& failure : failures)
        if (failure)
            std::rethrow_exception(failure);
}

bool lists_upload(ObjectStore& store, const std::string& prefix, const std::string& id) {
    auto uploads = store.list_uploads(prefix);
    return std::any_of(uploads.begin(), uploads.end(),
                       [&](const UploadInfo& u) { return u.upload_id == id; });
}

} // namespace

TEST_SUITE_BEGIN("store/conformance");

TEST_CASE("an object is what was put last") {
    for_each_store([](const Place& place) {
        auto store = place.open();
        CHECK(!store->head("a/b").has_value());
        CHECK(text_of(*store, "a/b") == "(absent)");
        store->put("a/b", MemoryBody("first"));
        std::string first_etag = store->head("a/b")->etag;
        store->put("a/b", MemoryBody("second one"));
        CHECK(text_of(*store, "a/b") == "second one");
        auto info = store->head("a/b");
        REQUIRE(info.has_value());
        CHECK(info->key == "a/b");
        CHECK(info->size == 10);
        CHECK(!info->etag.empty());
        CHECK(info->etag.find('"') == std::string::npos);
        CHECK(info->etag != first_etag);
        auto age = now_wall() - info->last_modified;
        CHECK(age < std::chrono::minutes(5));
        CHECK(age > std::chrono::minutes(-5));
        store->remove("a/b");
        CHECK(!store->head("a/b").has_value());
        store->remove("a/b"); // missing is success
    });
}

TEST_CASE("trying out whether a key could be written leaves nothing") {
    for_each_store([](const Place& place) {
        auto store = place.open();
        store->check_writable("layers/some.tar.zst");
        CHECK(keys(*store, "").empty());
        CHECK(store->list_uploads("").empty());
        // A directory is asked for no credentials, a server for all three.
        const StoreAccess access = store->access();
        CHECK(access.endpoint.empty() == !place.is_s3);
        CHECK(access.region.empty() == !place.is_s3);
        CHECK(access.credentials.empty() == !place.is_s3);
    });
}

TEST_CASE("an empty object exists") {
    for_each_store([](const Place& place) {
        auto store = place.open();
        store->put("empty", MemoryBody(""));
        CHECK(store->head("empty")->size == 0);
        CHECK(text_of(*store, "empty").empty());
        MemorySink sink;
        auto info = store->get("empty", sink);
        REQUIRE(info.has_value());
        CHECK(info->size == 0);
    });
}

TEST_CASE("metadata comes back from head and get") {
    for_each_store([](const Place& place) {
        auto store = place.open();
        PutOptions options;
        options.meta = {{"zl-blob-sha256", std::string(64, 'a')}, {"zl-note", "two words; a=b"}};
        options.content_type = "application/zstd";
        store->put("m", MemoryBody("x"), options);
        CHECK(store->head("m")->meta == options.meta);
        MemorySink sink;
        CHECK(store->get("m", sink)->meta == options.meta);
        store->put("m", MemoryBody("x")); // replaced together with the bytes
        CHECK(store->head("m")->meta.empty());
    });
}

TEST_CASE("ranges give exactly the bytes asked for") {
    for_each_store([](const Place& place) {
        auto store = place.open();
        std::string data = pattern(100000, 1);
        store->put("r", MemoryBody(data));
        auto range = [&](std::uint64_t offset, std::uint64_t length) {
            GetOptions options;
            options.range = ByteRange{offset, length};
            return text_of(*store, "r", options);
        };
        CHECK(range(0, 1) == data.substr(0, 1));
        CHECK(range(99999, 1) == data.substr(99999));
        CHECK(range(777, 50000) == data.substr(777, 50000));
        CHECK(range(0, 100000) == data);
        CHECK(range(500, 0).empty());
        CHECK(error_of([&] { range(99999, 2); }) == ErrorKind::data);
        CHECK(error_of([&] { range(100000, 1); }) == ErrorKind::data);
        CHECK(error_of([&] { range(1 << 30, 5); }) == ErrorKind::data);
        MemorySink sink;
        GetOptions options;
        options.range = ByteRange{10, 20};
        CHECK(store->get("r", sink, options)->size == 100000); // the object's, not the range's
        options.range = ByteRange{0, 5};
        CHECK(!store->get("absent", sink, options).has_value());
    });
}

TEST_CASE("a get with If-Match notices another object") {
    for_each_store([](const Place& place) {
        auto store = place.open();
        store->put("c", MemoryBody("one"));
        GetOptions options;
        options.if_match = store->head("c")->etag;
        CHECK(text_of(*store, "c", options) == "one");
        store->put("c", MemoryBody("two"));
        CHECK(error_of([&] { text_of(*store, "c", options); }) == ErrorKind::conflict);
        options.range = ByteRange{1, 1};
        CHECK(error_of([&] { text_of(*store, "c", options); }) == ErrorKind::conflict);
    });
}

TEST_CASE("create-only put refuses an existing key or is unsupported") {
    for_each_store([](const Place& place) {
        auto store = place.open();
        PutOptions create;
        create.if_none_match = true;
        create.meta["zl-note"] = "1st";
        bool supported = true;
        try {
            store->put("n", MemoryBody("first"), create);
        } catch (const Error& e) {
            REQUIRE(e.kind() == ErrorKind::unsupported);
            supported = false;
            CHECK(!store->head("n").has_value());
        }
        if (!supported) {
            MESSAGE("create-only put is unsupported by ", place.url.endpoint);
            return;
        }
        CHECK(store->head("n")->meta == create.meta);
        PutOptions second = create;
        second.meta["zl-note"] = "2nd";
        CHECK(error_of([&] { store->put("n", MemoryBody("second"), second); }) ==
              ErrorKind::conflict);
        CHECK(text_of(*store, "n") == "first");
        CHECK(store->head("n")->meta == create.meta); // as well as the bytes
        store->remove("n");
        store->put("n", MemoryBody("third"), create);
        CHECK(text_of(*store, "n") == "third");
    });
}

TEST_CASE("of many create-only puts at once one wins") {
    for_each_store([](const Place& place) {
        auto store = place.open();
        for (int round = 0; round < 5; ++round) {
            std::string key = "race" + std::to_string(round);
            std::atomic<int> won{0}, lost{0}, unsupported{0};
            in_threads(8, [&](unsigned i) {
                PutOptions create;
                create.if_none_match = true;
                try {
                    store->put(key, MemoryBody("writer " + std::to_string(i)), create);
                    ++won;
                } catch (const Error& e) {
                    if (e.kind() != ErrorKind::conflict && e.kind() != ErrorKind::unsupported)
                        throw;
                    ++(e.kind() == ErrorKind::conflict ? lost : unsupported);
                }
            });
            if (unsupported == 8)
                return;
            CHECK(won == 1);
            CHECK(lost == 7);
        }
    });
}

TEST_CASE("listing is in bytewise order and by prefix") {
    for_each_store([](const Place& place) {
        // No key is another one's directory: a directory store cannot have both.
        const std::vector<std::string> all = {"a-b", "a/b",        "a/c/d", "a0",
                                              "ba",  "b/\xc3\xa9", "b/z",   "z"};
        auto store = place.open();
        for (const std::string& key : all)
            store->put(key, MemoryBody(key));
        std::vector<std::string> sorted = all;
        std::sort(sorted.begin(), sorted.end());
        for (int page_size : {0, 1, 2, 3}) {
            CAPTURE(page_size);
            auto paged = place.open_with_pages(page_size);
            CHECK(keys(*paged, "") == sorted);
            CHECK(keys(*paged, "a/") == std::vector<std::string>{"a/b", "a/c/d"});
            CHECK(keys(*paged, "a") == std::vector<std::string>{"a-b", "a/b", "a/c/d", "a0"});
            CHECK(keys(*paged, "nothing").empty());
            ListOptions after;
            after.start_after = "a/b";
            CHECK(keys(*paged, "a", after) == std::vector<std::string>{"a/c/d", "a0"});
            after.start_after = "a/a"; // not a key itself
            CHECK(keys(*paged, "a", after) == std::vector<std::string>{"a/b", "a/c/d", "a0"});
        }
        std::vector<ObjectInfo> seen;
        store->list("a/b", {}, [&](const ObjectInfo& info) {
            seen.push_back(info);
            return false; // stop
        });
        REQUIRE(seen.size() == 1);
        CHECK(seen[0].size == 3);
        CHECK(seen[0].etag == store->head("a/b")->etag);
        CHECK(seen[0].last_modified > now_wall() - std::chrono::minutes(5));
    });
}

TEST_CASE("a delimiter folds deeper keys into common prefixes") {
    for_each_store([](const Place& place) {
        auto store = place.open();
        for (const char* key :
             {"refs/web/1", "refs/web/2", "refs/db", "refs/a/b/c", "refs/web-x", "top"})
            store->put(key, MemoryBody("x"));
        ListOptions fold;
        fold.delimiter = true;
        for (int page_size : {0, 1, 2}) {
            CAPTURE(page_size);
            auto paged = place.open_with_pages(page_size);
            CHECK(keys(*paged, "", fold) == std::vector<std::string>{"refs/", "top"});
            CHECK(keys(*paged, "refs/", fold) ==
                  std::vector<std::string>{"refs/a/", "refs/db", "refs/web-x", "refs/web/"});
            CHECK(keys(*paged, "refs/web/", fold) ==
                  std::vector<std::string>{"refs/web/1", "refs/web/2"});
        }
        store->list("refs/a", fold, [&](const ObjectInfo& info) {
            CHECK(info.key == "refs/a/");
            CHECK(info.size == 0);
            CHECK(info.etag.empty());
            return true;
        });
    });
}

TEST_CASE("more keys than one page of S3 holds are all listed") {
    for_each_store([](const Place& place) {
        auto store = place.open();
        constexpr int kKeys = 1005;
        auto name = [](int i) {
            std::string digits = std::to_string(100000 + i);
            return "many/" + digits;
        };
        std::atomic<int> next{0};
        in_threads(8, [&](unsigned) {
            for (int i; (i = next++) < kKeys;)
                store->put(name(i), MemoryBody(""));
        });
        auto listed = keys(*store, "many/");
        REQUIRE(listed.size() == kKeys);
        for (int i = 0; i < kKeys; ++i)
            REQUIRE(listed[static_cast<std::size_t>(i)] == name(i));
    });
}

TEST_CASE("odd keys stay what they are") {
    for_each_store([](const Place& place) {
        std::vector<std::string> odd = {"plain",
                                        "with space",
                                        " leading and trailing ",
                                        "plus+plus",
                                        "percent%41%",
                                        "a=b&c;d,e:f@g$h!i*j(k)l'm",
                                        "quote\"s<and>angles",
                                        "question?mark#hash",
                                        "back\\slash|pipe^caret`tick{brace}[bracket]~",
                                        "umlaut-\xc3\xbc-clef-\xf0\x9d\x84\x9e",
                                        "combining-u\xcc\x88"};
        if (place.is_s3) { // a file name cannot be empty, `.` or `..`
            odd.push_back("double//slash");
            odd.push_back("dots/../and/./more");
            odd.push_back("ends in slash/");
        }
        auto store = place.open();
        for (const std::string& key : odd) {
            INFO("key: ", key);
            store->put(key, MemoryBody("body of " + key));
        }
        for (const std::string& key : odd) {
            INFO("key: ", key);
            CHECK(text_of(*store, key) == "body of " + key);
            CHECK(store->head(key).has_value());
            CHECK(keys(*store, key) == std::vector<std::string>{key});
        }
        std::sort(odd.begin(), odd.end());
        CHECK(keys(*store, "") == odd);
        CHECK(keys(*place.open_with_pages(1), "") == odd);
        for (const std::string& key : odd)
            store->remove(key);
        CHECK(keys(*store, "").empty());
    });
}

TEST_CASE("odd keys work for multipart uploads") {
    for_each_store([](const Place& place) {
        auto store = place.open();
        std::string key = "up+load %/\xc3\xbc&=";
        std::string id = store->create_upload(key, {});
        auto uploads = store->list_uploads("up+load");
        REQUIRE(uploads.size() == 1);
        CHECK(uploads[0].key == key);
        CHECK(uploads[0].upload_id == id);
        auto parts = upload_parts(*store, key, id, {"one part"});
        CHECK(store->list_parts(key, id).size() == 1);
        store->complete_upload(key, id, parts);
        CHECK(text_of(*store, key) == "one part");
    });
}

TEST_CASE("three parts become one object with its metadata") {
    for_each_store([](const Place& place) {
        auto store = place.open();
        std::string a = pattern(kPart, 1), b = pattern(kPart, 2), c = pattern(1234, 3);
        PutOptions options;
        options.meta = {{"zl-blob-sha256", "cafe"}};
        std::string id = store->create_upload("big", options);
        CHECK(!id.empty());
        CHECK(lists_upload(*store, "b", id));
        CHECK(!lists_upload(*store, "other", id));
        auto uploads = store->list_uploads("big");
        REQUIRE(uploads.size() == 1);
        CHECK(uploads[0].initiated > now_wall() - std::chrono::minutes(5));

        std::vector<PartInfo> parts(3);
        std::int64_t sent = 0;
        auto count = [&](std::int64_t bytes) { sent += bytes; };
        parts[2] = {3, c.size(), store->upload_part("big", id, 3, MemoryBody(c), count)};
        parts[0] = {1, a.size(), store->upload_part("big", id, 1, MemoryBody(a), count)};
        parts[1] = {2, b.size(), store->upload_part("big", id, 2, MemoryBody(b), count)};
        CHECK(sent == static_cast<std::int64_t>(a.size() + b.size() + c.size()));
        CHECK(!store->head("big").has_value()); // A3
        CHECK(keys(*store, "").empty());

        for (int page_size : {0, 1, 2}) {
            auto listed = place.open_with_pages(page_size)->list_parts("big", id);
            REQUIRE(listed.size() == 3);
            for (std::size_t i = 0; i < 3; ++i) {
                CHECK(listed[i].number == static_cast<int>(i) + 1);
                CHECK(listed[i].size == parts[i].size);
                CHECK(listed[i].etag == parts[i].etag);
            }
        }
        store->complete_upload("big", id, parts);
        CHECK(store->head("big")->size == a.size() + b.size() + c.size());
        CHECK(store->head("big")->meta == options.meta);
        CHECK(text_of(*store, "big") == a + b + c);
        GetOptions across;
        across.range = ByteRange{kPart - 10, 20};
        CHECK(text_of(*store, "big", across) == a.substr(kPart - 10) + b.substr(0, 10));
        CHECK(!lists_upload(*store, "", id));
    });
}

TEST_CASE("a part that is sent again replaces the first one") {
    for_each_store([](const Place& place) {
        auto store = place.open();
        std::string id = store->create_upload("o", {});
        std::string old_etag = store->upload_part("o", id, 1, MemoryBody("old"));
        std::string etag = store->upload_part("o", id, 1, MemoryBody("newer"));
        CHECK(old_etag != etag);
        auto listed = store->list_parts("o", id);
        REQUIRE(listed.size() == 1);
        CHECK(listed[0].size == 5);
        CHECK(listed[0].etag == etag);
        CHECK(error_of([&] {
                  store->complete_upload("o", id, {{1, 3, old_etag}});
              }) == ErrorKind::data);
        store->complete_upload("o", id, {{1, 5, etag}});
        CHECK(text_of(*store, "o") == "newer");
    });
}

TEST_CASE("completing twice succeeds again or says gone, and harms nothing") {
    for_each_store([](const Place& place) {
        auto store = place.open();
        std::string id = store->create_upload("t", {});
        auto parts = upload_parts(*store, "t", id, {"body"});
        store->complete_upload("t", id, parts);
        try {
            store->complete_upload("t", id, parts);
        } catch (const Error& e) {
            CHECK(e.kind() == ErrorKind::gone);
        }
        CHECK(text_of(*store, "t") == "body");
    });
}

TEST_CASE("an aborted upload leaves nothing") {
    for_each_store([](const Place& place) {
        auto store = place.open();
        std::string id = store->create_upload("x", {});
        auto parts = upload_parts(*store, "x", id, {"body"});
        store->abort_upload("x", id);
        CHECK(error_of([&] { store->list_parts("x", id); }) == ErrorKind::gone);
        CHECK(error_of([&] { store->upload_part("x", id, 2, MemoryBody("late")); }) ==
              ErrorKind::gone);
        // Ceph answers 500: then the caller has to look, as after every 500.
        ErrorKind completed = error_of([&] { store->complete_upload("x", id, parts); });
        CHECK((completed == ErrorKind::gone || completed == ErrorKind::transient));
        CHECK(!lists_upload(*store, "", id));
        CHECK(!store->head("x").has_value());
        store->abort_upload("x", id); // missing is success
    });
}

TEST_CASE("uploads are listed over pages") {
    for_each_store([](const Place& place) {
        auto store = place.open();
        std::vector<std::string> wanted;
        for (int i = 0; i < 5; ++i)
            wanted.push_back(store->create_upload("u/" + std::to_string(i), {}));
        wanted.push_back(store->create_upload("u/0", {})); // two of one key
        store->create_upload("v", {});
        for (int page_size : {0, 1, 2}) {
            CAPTURE(page_size);
            std::vector<std::string> got;
            for (const UploadInfo& upload : place.open_with_pages(page_size)->list_uploads("u/"))
                got.push_back(upload.upload_id);
            std::sort(wanted.begin(), wanted.end());
            std::sort(got.begin(), got.end());
            CHECK(got == wanted);
        }
    });
}

TEST_CASE("parts can be copied from ranges of another object") {
    for_each_store([](const Place& place) {
        auto store = place.open();
        std::string source = pattern(2 * kPart + 500, 7);
        store->put("old version", MemoryBody(source));
        std::string etag = store->head("old version")->etag;
        std::string id = store->create_upload("new", {});
        std::vector<PartInfo> parts;
        std::string first =
            store->upload_part_copy("new", id, 1, "old version", etag, ByteRange{300, kPart});
        CHECK(!first.empty());
        std::string second = pattern(777, 8);
        parts.push_back({1, kPart, first});
        parts.push_back({2, second.size(), store->upload_part("new", id, 2, MemoryBody(second))});
        CHECK(store->list_parts("new", id).at(0).etag == first);
        CHECK(store->list_parts("new", id).at(0).size == kPart);
        store->complete_upload("new", id, parts);
        CHECK(text_of(*store, "new") == source.substr(300, kPart) + second);
        CHECK(text_of(*store, "old version") == source);

        id = store->create_upload("other", {});
        try { // Ceph ignores the condition
            store->upload_part_copy("other", id, 1, "old version", std::string(32, '0'),
                                    ByteRange{0, 100});
        } catch (const Error& e) {
            CHECK(e.kind() == ErrorKind::conflict);
        }
    });
}

TEST_CASE("a sink that fails stops the download and nothing else") {
    for_each_store([](const Place& place) {
        auto store = place.open();
        std::string data = pattern(3 << 20, 4);
        store->put("s", MemoryBody(data));
        struct Full {};
        FunctionSink full([](Bytes) { throw Full(); });
        CHECK_THROWS_AS(store->get("s", full), Full);
        CHECK(text_of(*store, "s") == data);
    });
}

TEST_CASE("a body that cannot be read fails the put and leaves no object") {
    struct Unreadable final : Body {
        std::uint64_t size() const override { return 100; }
        void read(std::uint64_t, std::span<std::byte>) const override {
            throw Error(ErrorKind::io, "read error");
        }
    };
    for_each_store([](const Place& place) {
        auto store = place.open();
        CHECK(error_of([&] { store->put("b", Unreadable()); }) == ErrorKind::io);
        CHECK(!store->head("b").has_value());
    });
}

TEST_CASE("a body that is not what its hash says fails the put and leaves no object") {
    for_each_store([](const Place& place) {
        auto store = place.open();
        const std::string text = "what a disk made of it";
        MemoryBody bytes(text);
        const HashedBody wrong(bytes, sha256(as_bytes("what came in")).hex());
        CHECK_THROWS_AS(store->put("b", wrong), Error);
        CHECK(!store->head("b").has_value());
        store->put("b", HashedBody(bytes, sha256(as_bytes(text)).hex()));
        CHECK(text_of(*store, "b") == text);
    });
}

TEST_CASE("many threads share one store") {
    for_each_store([](const Place& place) {
        auto store = place.open();
        std::atomic<int> good{0};
        in_threads(8, [&](unsigned t) {
            std::string key = "thread/" + std::to_string(t);
            std::string data = pattern(200000 + t, t);
            for (int i = 0; i < 5; ++i) {
                store->put(key, MemoryBody(data));
                good += text_of(*store, key) == data;
            }
        });
        CHECK(good == 40);
    });
}

TEST_CASE("progress adds up to the bytes moved") {
    for_each_store([](const Place& place) {
        auto store = place.open();
        std::string data = pattern(2000000, 5);
        std::int64_t up = 0, down = 0;
        PutOptions put;
        put.on_bytes = [&](std::int64_t n) { up += n; };
        store->put("p", MemoryBody(data), put);
        CHECK(up == 2000000);
        GetOptions get;
        get.on_bytes = [&](std::int64_t n) { down += n; };
        text_of(*store, "p", get);
        CHECK(down == 2000000);
    });
}

TEST_CASE("a stop request ends every operation") {
    for_each_store([](const Place& place) {
        std::stop_source stop;
        Place stopped = place;
        stopped.options.stop = stop.get_token();
        if (!place.is_s3) // a directory is quick: only the network waits
            return;
        auto store = stopped.open();
        store->put("i", MemoryBody("x"));
        stop.request_stop();
        CHECK_THROWS_AS(store->head("i"), Interrupted);
        CHECK_THROWS_AS(store->put("i", MemoryBody("y")), Interrupted);
    });
}

TEST_CASE("a missing bucket is named") {
    for_each_store([](const Place& place) {
        if (!place.is_s3)
            return;
        Place nowhere = place;
        nowhere.url.bucket = "zl-no-such-bucket";
        auto store = nowhere.open();
        MemorySink sink;
        CHECK(error_of([&] { store->head("k"); }) == ErrorKind::not_found);
        CHECK(error_of([&] { store->get("k", sink); }) == ErrorKind::not_found);
        CHECK(error_of([&] { store->put("k", MemoryBody("x")); }) == ErrorKind::not_found);
        CHECK(error_of([&] { keys(*store, ""); }) == ErrorKind::not_found);
        CHECK(error_of([&] { store->create_upload("k", {}); }) == ErrorKind::not_found);
        CHECK(error_of([&] { store->remove("k"); }) == ErrorKind::not_found);
    });
}

TEST_CASE("refused credentials are denied and name their source") {
    for_each_store([](const Place& place) {
        if (!place.is_s3)
            return;
        Place stranger = place;
        stranger.options.environment = [](const std::string& name) -> std::optional<std::string> {
            if (name == "AWS_SECRET_ACCESS_KEY")
                return "not-the-secret";
            return process_environment(name);
        };
        auto store = stranger.open();
        CHECK(error_of([&] { store->head("k"); }) == ErrorKind::denied);
        try {
            store->put("k", MemoryBody("x"));
            FAIL("accepted");
        } catch (const Error& e) {
            CHECK(e.kind() == ErrorKind::denied);
            CHECK(e.hint().find("AWS_ACCESS_KEY_ID") != std::string::npos);
            CHECK(e.message().find("not-the-secret") == std::string::npos);
        }
    });
}

TEST_CASE("the identity is stable and the same for all who open it") {
    for_each_store([](const Place& place) {
        CHECK(place.open()->identity() == place.open()->identity());
        CHECK(place.open()->describe("k").find("k") != std::string::npos);
    });
}

TEST_SUITE_END();
