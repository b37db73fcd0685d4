#include "base/error.hpp"
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
    CHECK(url.uniform_parts);
    CHECK(!url.conditional);

    StoreUrl plain = StoreUrl::parse("s3://b?endpoint=http://h");
    CHECK(plain.endpoint == "http://h");
    CHECK(plain.addressing == StoreUrl::Addressing::automatic);
    CHECK(!plain.uniform_parts);
    CHECK(plain.conditional);
    CHECK(!StoreUrl::parse("s3://b?uniform_parts=0").uniform_parts);
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
