#include "base/error.hpp"
#include "store/name.hpp"
#include "store/store_url.hpp"

#include <doctest/doctest.h>

using namespace zl;

namespace {

Error refused(const std::string& text) {
    try {
        StoreUrl::parse(text);
    } catch (const Error& e) {
        return e;
    }
    FAIL("accepted " << text);
    return Error(ErrorKind::internal, "");
}

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

} // namespace

TEST_SUITE_BEGIN("store/store_url");

TEST_CASE("directories") {
    struct Row {
        const char* text;
        const char* path;
    };
    for (const Row& row :
         {Row{"/srv/store", "/srv/store"}, Row{"/srv/store//", "/srv/store"}, Row{"/", "/"},
          Row{"file:///srv/a%20b", "/srv/a b"}, Row{"/srv/a%20b", "/srv/a%20b"},
          Row{"/srv/what?", "/srv/what?"}, Row{"file://localhost/srv", "/srv"}}) {
        INFO(row.text);
        StoreUrl url = StoreUrl::parse(row.text);
        CHECK(url.kind == StoreUrl::Kind::directory);
        CHECK(url.path == row.path);
    }
    for (const char* text : {"", "relative/dir", "./x", "file://host/x", "file:relative", "file://",
                             "file:///x?sse=AES256", "~/store"}) {
        INFO(text);
        CHECK(refused(text).kind() == ErrorKind::usage);
    }
}

TEST_CASE("buckets and roots") {
    struct Row {
        const char* text;
        const char* bucket;
        const char* root;
    };
    for (const Row& row :
         {Row{"s3://b", "b", ""}, Row{"s3://b/", "b", ""}, Row{"s3://b/r", "b", "r"},
          Row{"s3://b//r/s//", "b", "r/s"}, Row{"s3://b/a%20b", "b", "a b"},
          Row{"s3://my.bucket/x", "my.bucket", "x"}, Row{"s3://b?region=x", "b", ""}}) {
        INFO(row.text);
        StoreUrl url = StoreUrl::parse(row.text);
        CHECK(url.kind == StoreUrl::Kind::s3);
        CHECK(url.bucket == row.bucket);
        CHECK(url.root == row.root);
    }
    for (const char* text : {"s3://", "s3:///x", "s3://?region=x", "s3://b:9000/x", "s3://b/x#y",
                             "s3:/b", "s4://b", "gs://b"}) {
        INFO(text);
        CHECK(refused(text).kind() == ErrorKind::usage);
    }
}

TEST_CASE("settings") {
    StoreUrl url = StoreUrl::parse(
        "s3://b/r?endpoint=https%3A%2F%2Fh%3A9000&region=eu-central-1&profile=back+up%20x&"
        "addressing=virtual&sse=aws:kms&sse_kms_key_id=arn:aws:kms:1&storage_class=STANDARD_IA&"
        "uniform_parts=1&conditional=off");
    CHECK(url.endpoint == "https://h:9000");
    CHECK(url.region == "eu-central-1");
    CHECK(url.profile == "back+up x"); // a plus is a plus
    CHECK(url.addressing == StoreUrl::Addressing::virtual_host);
    CHECK(url.sse == "aws:kms");
    CHECK(url.sse_kms_key_id == "arn:aws:kms:1");
    CHECK(url.storage_class == "STANDARD_IA");
    CHECK(!url.conditional);

    StoreUrl plain = StoreUrl::parse("s3://b?endpoint=http://h");
    CHECK(plain.endpoint == "http://h");
    CHECK(plain.addressing == StoreUrl::Addressing::automatic);
    CHECK(plain.conditional);
}

TEST_CASE("wrong settings name the fix") {
    struct Row {
        const char* query;
        const char* hint;
    };
    for (const Row& row :
         {Row{"regoin=x", "region"}, Row{"end_point=x", "endpoint"},
          Row{"class=x", "storage_class"}, Row{"uniform=1", "uniform_parts"},
          Row{"addressing=dns", "virtual"}, Row{"sse=aes", "AES256"},
          Row{"conditional=maybe", "off"}, Row{"uniform_parts=2", "=1"}, Row{"region", "region="},
          Row{"region=", "region="}, Row{"endpoint=host:9000", "https://"},
          Row{"sse_kms_key_id=k", "sse=aws:kms"}}) {
        INFO(row.query);
        Error e = refused(std::string("s3://b?") + row.query);
        CHECK((e.kind() == ErrorKind::usage || e.kind() == ErrorKind::config));
        CHECK_MESSAGE(has(e.hint(), row.hint), e.hint());
    }
}

TEST_CASE("secrets are refused and never repeated") {
    for (const std::string text :
         {"s3://b?access_key=hunter2", "s3://b?secret=hunter2",
          "s3://b?aws_secret_access_key=hunter2", "s3://b?token=hunter2",
          "s3://b?X-Amz-Security-Token=hunter2", "s3://b?password=hunter2", "s3://key:hunter2@b/x",
          "s3://hunter2@b", "https://user:hunter2@host/b",
          "s3://b?endpoint=https://user:hunter2@host", "s3://b?X-Amz-Signature=hunter2"}) {
        INFO(text);
        Error e = refused(text);
        CHECK(!has(e.message(), "hunter2"));
        CHECK(!has(e.hint(), "hunter2"));
        if (text.starts_with("s3://b?") && !has(text, "endpoint"))
            CHECK(has(e.hint(), "AWS_SECRET_ACCESS_KEY")); // where it belongs
    }
}

TEST_SUITE_END();

TEST_SUITE_BEGIN("store/name");

namespace {

/// The kind and the message of what @p check says; "" when it accepts.
std::string fault(void (*check)(std::string_view), const std::string& name) {
    try {
        check(name);
    } catch (const Error& e) {
        CHECK(e.kind() == ErrorKind::usage);
        CHECK(has(e.what(), "name \"" + name + "\": "));
        CHECK(has(e.hint(), "a name is like "));
        return e.what();
    }
    return {};
}

} // namespace

TEST_CASE("names of layers and databases") {
    const std::string digits = "8 or more hex digits", dot = "start with a dot",
                      characters = "only A-Z a-z 0-9 . _ -", empty = "a part is empty",
                      length = "1 to 512 bytes", reserved = " is reserved";
    struct Row {
        std::string name, layer, database; ///< what is wrong; empty: nothing
    };
    const std::string part(200, 'x');
    const Row rows[] = {
        {"app", "", ""},
        {"shop/web-1", "", ""},
        {"a.b_c/D-9", "", ""},
        {"deadbee", "", ""},
        {"x/deadbeef", "", ""},
        {"abcdefgh", "", ""},
        {"latest/a", "", ""},
        {"wals", "", ""},
        {"metadata.json.old", "", ""},
        {part + "/" + part + "/" + std::string(110, 'x'), "", ""}, // 512
        {part + "/" + part + "/" + std::string(111, 'x'), length, length},
        {"", length, length},
        {"a/" + part + "x", "longer than 200", "longer than 200"},
        {"latest", "the newest layer", "latest is reserved"},
        {"deadbeef", digits, digits},
        {"0123456789ABCDEF", digits, digits},
        {"/", empty, empty},
        {"/a", empty, empty},
        {"a/", empty, empty},
        {"a//b", empty, empty},
        {".a", dot, dot},
        {"a/.b", dot, dot},
        {"../a", dot, dot},
        {"a b", characters, characters},
        {"ä", characters, characters},
        {"\xff", characters, characters},
        {"a\nb", characters, characters},
        {"wal", reserved, reserved},
        {"a/wal", reserved, reserved},
        {"wal/a", reserved, reserved},
        {"snapshots", reserved, reserved},
        {"a/refs/b", reserved, reserved},
        {"a/metadata.json", reserved, reserved},
        {"merged", "", reserved},
        {"x/merged/y", "", reserved},
    };
    for (const Row& row : rows) {
        CAPTURE(row.name);
        std::string layer = fault(check_name, row.name), db = fault(check_db_name, row.name);
        CHECK(layer.empty() == row.layer.empty());
        CHECK(has(layer, row.layer));
        CHECK(db.empty() == row.database.empty());
        CHECK(has(db, row.database));
    }
}

TEST_SUITE_END();
