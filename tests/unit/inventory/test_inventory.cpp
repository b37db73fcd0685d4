#include "../temp_dir.hpp"
#include "inventory/check_layers.hpp"
#include "inventory/database_rows.hpp"
#include "inventory/inventory.hpp"
#include "inventory/layer_data.hpp"
#include "inventory/layer_rows.hpp"
#include "inventory/uploads.hpp"
#include "layer/layer_writer.hpp"
#include "store/open_store.hpp"
#include "transfer/layer_keys.hpp"
#include "transfer/stored_layer.hpp"

#include <doctest/doctest.h>

#include <stdlib.h>

#include <filesystem>

using namespace zl;

namespace {

struct Store {
    void put(const std::string& key, const std::string& text = "x") { put_text(*store, key, text); }
    NullLog log;
    test::TempDir dir;
    std::unique_ptr<ObjectStore> store = open_local_store(StoreUrl::parse(dir.path()), {}, log);
};

std::string digest_of(char c) {
    return std::string(64, c);
}

std::vector<Finding> check(Store& s, const LayerSelection& selection = {}) {
    std::vector<Finding> found;
    NullProgress progress;
    CheckReport report([&](const Finding& f) { found.push_back(f); }, progress);
    check_layers({*s.store, report, progress, {}, 2, false}, "layers/", selection);
    return found;
}

} // namespace

TEST_SUITE("inventory/layers") {
    TEST_CASE("objects of a digest belong together, raw ones apart") {
        Store s;
        s.put("layers/" + digest_of('a') + ".tar.zst");
        s.put("layers/" + digest_of('a') + ".meta.json");
        s.put("layers/" + digest_of('b') + ".doomed");
        s.put("layers/raw/" + digest_of('a'));
        s.put("layers/raw/" + digest_of('a') + ".meta.json");
        const LayerInventory found = list_layers(*s.store, "layers/");
        REQUIRE(found.layers.size() == 3);
        CHECK(found.layers[0].digest == digest_of('a'));
        CHECK(found.layers[0].object);
        CHECK(found.layers[0].meta);
        CHECK_FALSE(found.layers[0].doomed);
        CHECK(found.layers[1].doomed);
        CHECK_FALSE(found.layers[1].object);
        CHECK(found.layers[2].raw);
        CHECK(found.layers[2].object);
        CHECK(found.unknown.empty());
    }

    TEST_CASE("what zl would not write is unknown") {
        Store s;
        for (const std::string& key :
             {"layers/" + digest_of('A') + ".tar.zst", "layers/" + digest_of('a') + ".tar",
              "layers/raw/" + digest_of('a') + ".tar.zst", std::string("layers/short.tar.zst"),
              std::string("layers/refs/web1/20261122T060000.000Z-aaaaaaaaaaa.json"),
              std::string("layers/refs/latest/20261122T060000.000Z-aaaaaaaaaaaa.json"),
              std::string("layers/refs/a\x1b/20261122T060000.000Z-aaaaaaaaaaaa.json")})
            s.put(key);
        const LayerInventory found = list_layers(*s.store, "layers/");
        CHECK(found.layers.empty());
        CHECK(found.refs.empty());
        CHECK(found.unknown.size() == 7);
    }

    TEST_CASE("junk in any number: all is listed, a thousand are told") {
        Store s;
        for (int i = 0; i < 1001; ++i)
            s.put("layers/junk" + std::to_string(i));
        s.put("layers/refs/web1/soon-aaaaaaaaaaaa.json");
        const LayerInventory found = list_layers(*s.store, "layers/");
        REQUIRE(found.unknown.size() == 1002);
        CHECK(found.unknown.back() == "layers/refs/web1/soon-aaaaaaaaaaaa.json");
        const auto told = check(s);
        REQUIRE(told.size() == 1001);
        CHECK(told.back().key == "layers/");
        CHECK(told.back().what == "1002 keys that zl did not write");
    }

    TEST_CASE("refs come by name, oldest first, whatever their times are spelt like") {
        Store s;
        const std::string end = "-aaaaaaaaaaaa.json";
        s.put("layers/refs/web1/20261122T060000.000Z" + end);
        s.put("layers/refs/web1/20251122_060000" + end);
        s.put("layers/refs/web/20270101T000000.000Z" + end);
        const LayerInventory found = list_layers(*s.store, "layers/");
        REQUIRE(found.refs.size() == 3);
        CHECK(found.refs[0].name == "web");
        CHECK(found.refs[1].key == "layers/refs/web1/20251122_060000" + end);
        CHECK(found.refs[2].name == "web1");
    }

    TEST_CASE("a prefix stands as it is") {
        Store s;
        s.put("x-" + digest_of('a') + ".tar.zst");
        s.put("y-" + digest_of('a') + ".tar.zst");
        CHECK(list_layers(*s.store, "x-").layers.size() == 1);
    }
}

TEST_SUITE("inventory/databases") {
    TEST_CASE("names of several parts, one in the other") {
        Store s;
        s.put("db/app/wal/00000000000000000001.wal.zst");
        s.put("db/app/one/metadata.json");
        s.put("db/shop/db-1/snapshots/20261122T060000.000Z.sqlite.zst");
        s.put("db/deadbeef/merged-not/wal/x");
        CHECK(list_databases(*s.store).names ==
              std::vector<std::string>{"app", "app/one", "deadbeef/merged-not", "shop/db-1"});
        CHECK(holds_database(*s.store, "db/app/"));
        CHECK_FALSE(holds_database(*s.store, "db/shop/"));
    }

    TEST_CASE("what leads to no database is unknown") {
        Store s;
        s.put("db/file");
        s.put("db/latest/wal/x");
        s.put("db/sp ace/wal/x");
        s.put("db/refs/wal/x");
        const DatabaseInventory found = list_databases(*s.store);
        CHECK(found.names.empty());
        CHECK(found.unknown ==
              std::vector<std::string>{"db/file", "db/latest/", "db/refs/", "db/sp ace/"});
    }

    TEST_CASE("a replica of zlayer-storage is named") {
        Store s;
        s.put("db/old/metadata.json",
              R"({"snapshot_count":0,"last_modified":"2026-06-13T15:27:09Z"})");
        const DatabaseRow row =
            look_at_database(*s.store, ReplicaKeys::of_name("old"), "old", 2, {}, 10);
        CHECK(row.zlayer);
        CHECK(row.ranges.empty());
    }
}

TEST_SUITE("inventory/rows") {
    TEST_CASE("a name whose layer is gone, a layer without a name") {
        Store s;
        s.put("layers/refs/web1/20261122T060000.000Z-aaaaaaaaaaaa.json");
        s.put("layers/refs/web1/20261122T070000.000Z-bbbbbbbbbbbb.json");
        s.put("layers/" + digest_of('a') + ".tar.zst");
        s.put("layers/" + digest_of('c') + ".tar.zst", "12345");
        s.put("layers/" + digest_of('c') + ".meta.json", "{");
        const auto rows = LayerLister{*s.store, "layers/", 2, {}}.overview();
        REQUIRE(rows.size() == 2);
        CHECK(rows[0].name == "web1");
        CHECK(rows[0].kind == "missing");
        CHECK(rows[0].digest == "bbbbbbbbbbbb");
        CHECK(rows[0].versions == 2);
        CHECK(rows[0].from == parse_time("2026-11-22T06:00:00Z"));
        CHECK(rows[1].name == "");
        CHECK(rows[1].kind == "damaged");
        CHECK(rows[1].size == 5);
    }

    TEST_CASE("metadata tells who wrote a layer") {
        LayerMeta meta;
        CHECK(kind_of_layer(meta, false) == "zlayer");
        meta.blob_sha256 = digest_of('a');
        CHECK(kind_of_layer(meta, false) == "layer");
        meta.kind = "foreign";
        CHECK(kind_of_layer(meta, false) == "foreign");
        CHECK(kind_of_layer(std::nullopt, false) == "layer");
        CHECK(kind_of_layer(meta, true) == "raw");
    }

    TEST_CASE("uploads: whose key is it?") {
        Store s;
        const std::string layer = layer_key("layers/", digest_of('a'));
        for (const std::string& key :
             {layer, std::string("elsewhere/x"), raw_key("layers/", digest_of('b')),
              ReplicaKeys::of_name("a/b").snapshot(TimePoint{}), std::string("db/wal/x")})
            s.store->create_upload(key, {});
        std::map<std::string, std::string> kinds;
        for (const UploadRow& u : list_open_uploads(*s.store, "layers/", 2, {}))
            kinds[u.kind] += u.upload.key == layer ? "L" : "x";
        CHECK(kinds == std::map<std::string, std::string>{
                           {"database", "x"}, {"foreign", "xx"}, {"layer", "L"}, {"raw", "x"}});
    }
}

TEST_SUITE("inventory/check") {
    TEST_CASE("a push that has not come to its metadata is a note, one that is named is damage") {
        Store s;
        s.put("layers/raw/" + digest_of('a'));
        auto found = check(s);
        REQUIRE(found.size() == 1);
        CHECK_FALSE(found[0].damage);
        write_ref(*s.store, "layers/", {"web1", digest_of('a'), "raw", TimePoint{}, "{}", false});
        found = check(s);
        REQUIRE(found.size() == 1);
        CHECK(found[0].damage);
        CHECK(found[0].subject == "web1@1970-01-01T00:00:00.000Z");
        CHECK(found[0].key == raw_meta_key("layers/", digest_of('a')));
    }

    TEST_CASE("many names are counted, some are told") {
        Store s;
        for (int i = 0; i < 5; ++i)
            write_ref(*s.store, "layers/",
                      {"web1", digest_of('a'), "layer", TimePoint(Millis(i)), "{}", false});
        const auto found = check(s);
        REQUIRE(found.size() == 5); // each ref leads nowhere
        CHECK(found[0].key == layer_key("layers/", digest_of('a')));
        CHECK(found[0].what == "missing, though a name leads to it");
    }

    TEST_CASE("a selection looks at nothing else") {
        Store s;
        write_ref(*s.store, "layers/", {"web1", digest_of('a'), "layer", TimePoint{}, "{}", false});
        write_ref(*s.store, "layers/", {"web2", digest_of('b'), "layer", TimePoint{}, "{}", false});
        CHECK(check(s).size() == 2);
        CHECK(check(s, {"web2", ""}).size() == 1);
        CHECK(check(s, {"", digest_of('a')}).size() == 1);
        CHECK_THROWS_AS(check(s, {"web3", ""}), Error);
    }
}

TEST_SUITE("inventory/layer_data") {
    /// A layer of one file whose table says @p listed.
    std::string digest_of_layer(Store & s, const std::string& content, const Digest& listed) {
        MemorySink out;
        LayerStreamWriter writer(out, 1, 1);
        TocEntry e;
        e.path = "f";
        e.size = content.size();
        const std::string header(512, 'h');
        writer.begin_entry(e, header.size() + content.size());
        writer.write(as_bytes(header));
        writer.write(as_bytes(content));
        writer.end_entry(listed);
        const std::string digest = writer.finish({}).digest.hex();
        put_text(*s.store, layer_key("layers/", digest), out.text);
        return digest;
    }
    LayerData data_of(Store & s, const std::string& digest) {
        const auto object = s.store->head(layer_key("layers/", digest));
        REQUIRE(object);
        return {*s.store, *object, digest, false, read_layer_end(*s.store, *object), {}, 1};
    }

    TEST_CASE("a table of contents that lies about a file") {
        Store s;
        NullProgress progress;
        const std::string content(2048, 'c'), other(2048, 'o');
        auto good = data_of(s, digest_of_layer(s, content, sha256(as_bytes(content))));
        CHECK_NOTHROW(good.verify(progress, {}));
        good.digest = digest_of('a');
        CHECK_THROWS_WITH_AS(good.verify(progress, {}),
                             doctest::Contains("the digest of its tar is"), Error);
        const auto lie = data_of(s, digest_of_layer(s, content, sha256(as_bytes(other))));
        CHECK_THROWS_WITH_AS(lie.verify(progress, {}), "f: content does not fit its SHA-256",
                             Error);
    }

    TEST_CASE("metadata that names another hash of the stored bytes") {
        Store s;
        NullProgress progress;
        const std::string content(2048, 'c');
        auto data = data_of(s, digest_of_layer(s, content, sha256(as_bytes(content))));
        data.meta.emplace();
        data.meta->size_bytes = data.end->trailer.size_bytes;
        CHECK_NOTHROW(data.verify(progress, {}));
        data.meta->blob_sha256 = digest_of('a');
        CHECK_THROWS_WITH_AS(data.verify(progress, {}), doctest::Contains("its SHA-256 is"), Error);
    }
}
