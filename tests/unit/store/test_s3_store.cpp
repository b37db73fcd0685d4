/// The S3 store against servers that misbehave as real ones have been seen to. FAKE servers: see
/// fake_http.hpp.
#include "conformance.hpp"
#include "fake_http.hpp"
#include "store/s3_client.hpp"
#include "stream/hash.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <mutex>

using namespace zl;
using conformance::error_of;
using conformance::text_of;

namespace {

constexpr const char* kOnePart =
    "<ListPartsResult><IsTruncated>false</IsTruncated><Part><PartNumber>1</PartNumber><Size>1"
    "</Size><ETag>e</ETag><LastModified>2026-11-22T06:00:00Z</LastModified></Part>"
    "</ListPartsResult>";
constexpr const char* kSecret = "wJalrXUtnFEMI-not-to-be-seen";
using Clock = std::chrono::steady_clock;

class MemoryLog final : public Log {
public:
    void write(LogLevel, std::string_view message) override {
        std::lock_guard lock(mutex_);
        text += std::string(message) + '\n';
    }
    std::string text;

private:
    std::mutex mutex_;
};

/// One store over one fake server.
struct Bench {
    explicit Bench(FakeHttp::Handler handler, const std::string& query = {},
                   Millis retry_for = std::chrono::seconds(5))
        : server(std::move(handler)) {
        variables = {{"AWS_ACCESS_KEY_ID", "AKID"},
                     {"AWS_SECRET_ACCESS_KEY", kSecret},
                     {"HOME", "/nonexistent"},
                     {"AWS_EC2_METADATA_DISABLED", "true"}};
        options.retry_for = retry_for;
        options.environment = [this](const std::string& name) -> std::optional<std::string> {
            auto it = variables.find(name);
            return it == variables.end() ? std::nullopt : std::optional(it->second);
        };
        url = "s3://buck/root?endpoint=" + server.url() + query;
    }
    ObjectStore& store() {
        if (!store_)
            store_ = open_store(StoreUrl::parse(url), options, log);
        return *store_;
    }

    std::map<std::string, std::string> variables;
    FakeHttp server;
    StoreOptions options;
    std::string url;
    MemoryLog log;

private:
    std::unique_ptr<ObjectStore> store_;
};

using Req = FakeHttp::Request;
using Rep = FakeHttp::Reply;

std::string contents(const std::string& key) {
    return "<Contents><Key>" + key +
           "</Key><Size>1</Size><LastModified>2026-11-22T06:00:00Z</LastModified></Contents>";
}

/// Error that @p action throws.
Error error_from(const std::function<void()>& action) {
    try {
        action();
    } catch (const Error& e) {
        return e;
    }
    FAIL("no error was thrown");
    return Error(ErrorKind::internal, "");
}

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

} // namespace

TEST_SUITE_BEGIN("store/s3_store");

TEST_CASE("requests carry what S3 needs and nothing it chokes on") {
    Bench b(
        [](const Req&, Rep& reply) {
            reply.send(200, "", {{"ETag", "\"e\""}});
        },
        "&region=eu-x-1&sse=aws:kms&sse_kms_key_id=K&storage_class=STANDARD_IA");
    b.variables["AWS_SESSION_TOKEN"] = "tok";
    PutOptions options;
    options.meta = {{"a", "b"}};
    options.content_type = "text/x";
    CHECK(b.store().put("k +/\xc3\xbc", MemoryBody("body"), options) == "e");
    Req r = b.server.requests().at(0);
    CHECK(r.method == "PUT");
    CHECK(r.target == "/buck/root/k%20%2B/%C3%BC");
    CHECK(r.body == "body");
    CHECK(r.header("host") == b.server.authority());
    CHECK(r.header("content-type") == "text/x");
    CHECK(r.header("x-amz-meta-a") == "b");
    CHECK(r.header("x-amz-content-sha256") == sha256(as_bytes("body")).hex());
    CHECK(r.header("x-amz-security-token") == "tok");
    CHECK(r.header("x-amz-server-side-encryption") == "aws:kms");
    CHECK(r.header("x-amz-server-side-encryption-aws-kms-key-id") == "K");
    CHECK(r.header("x-amz-storage-class") == "STANDARD_IA");
    CHECK(has(r.credential(), "AKID/"));
    CHECK(has(r.credential(), "/eu-x-1/s3/aws4_request"));
    CHECK(has(r.header("authorization"), "x-amz-meta-a"));
    CHECK(has(r.header("authorization"), "x-amz-security-token"));
    for (const auto& [name, value] : r.headers)
        CHECK(!has(name, "checksum"));
    CHECK(!r.has("if-none-match"));
    options.if_none_match = true;
    b.store().put("k", MemoryBody(""), options);
    CHECK(b.server.requests().at(1).header("if-none-match") == "*");
    CHECK(b.server.requests().at(1).header("content-length") == "0");
}

TEST_CASE(
    "a body whose hash is known is not read for the signature, and the server has the proof") {
    Bench b([](const Req&, Rep& reply) { reply.send(200, "", {{"ETag", "\"e\""}}); });
    struct Counted final : Body {
        mutable int reads = 0;
        std::uint64_t size() const override { return 4; }
        void read(std::uint64_t, std::span<std::byte> to) const override {
            ++reads;
            std::memcpy(to.data(), "bOdy", to.size()); // the disk has made something else of it
        }
    } bytes;
    const std::string hash = sha256(as_bytes("body")).hex();
    b.store().put("k", HashedBody(bytes, hash));
    CHECK(bytes.reads == 1);
    Req r = b.server.requests().at(0);
    CHECK(r.body == "bOdy");
    CHECK(r.header("x-amz-content-sha256") == hash); // which a real server compares
}

TEST_CASE("path or virtual host style") {
    auto ok = [](const Req&, Rep& reply) { reply.send(200); };
    Bench path(ok);
    path.store().put("k", MemoryBody("x"));
    CHECK(path.server.requests().at(0).target == "/buck/root/k");

    FakeHttp server(ok);
    std::string host = "localhost:" + std::to_string(server.port()); // buck.localhost resolves
    Bench virt(ok);
    virt.url = "s3://buck/root?addressing=virtual&endpoint=http://" + host;
    virt.store().put("k", MemoryBody("x"));
    CHECK(server.requests().at(0).target == "/root/k");
    CHECK(server.requests().at(0).header("host") == "buck." + host);

    Bench base(ok);
    base.url = "s3://buck?endpoint=" + base.server.url() + "/s3%20api/";
    base.store().put("k", MemoryBody("x"));
    CHECK(base.server.requests().at(0).target == "/s3%20api/buck/k");
    CHECK(base.store().identity() == "s3://buck at " + base.server.url() + "/s3 api");
}

TEST_CASE("throttling is waited out, and Retry-After honoured") {
    Bench b([](const Req& r, Rep& reply) {
        if (r.number == 1)
            reply.send(503, error_xml("SlowDown"), {{"Retry-After", "1"}});
        else if (r.number == 2)
            reply.send(500, error_xml("InternalError"));
        else if (r.number == 3)
            reply.reset();
        else
            reply.send(200, "", {{"ETag", "\"e\""}});
    });
    std::int64_t sent = 0;
    PutOptions options;
    options.on_bytes = [&](std::int64_t n) { sent += n; };
    auto began = Clock::now();
    CHECK(b.store().put("k", MemoryBody("12345"), options) == "e");
    CHECK(Clock::now() - began >= Millis(1000));
    CHECK(b.server.count() == 4);
    CHECK(sent == 5); // failed attempts were taken back
}

TEST_CASE("a server that never recovers ends in transient after the budget") {
    Bench b([](const Req&, Rep& reply) { reply.send(503, error_xml("SlowDown")); }, "",
            Millis(700));
    auto began = Clock::now();
    Error e = error_from([&] { b.store().put("k", MemoryBody("x")); });
    CHECK(e.kind() == ErrorKind::transient);
    CHECK(has(e.message(), "SlowDown"));
    CHECK(has(e.message(), "s3://buck/root/k"));
    CHECK(Clock::now() - began < Millis(3000));
    CHECK(b.server.count() >= 3);
    CHECK(b.server.count() < 12);
}

TEST_CASE("403 is not retried and names the credentials, not the secret") {
    Bench b([](const Req&, Rep& reply) {
        reply.send(403, error_xml("AccessDenied", "<Message>no</Message>"));
    });
    Error e = error_from([&] { b.store().put("k", MemoryBody("x")); });
    CHECK(e.kind() == ErrorKind::denied);
    CHECK(has(e.message(), "403 AccessDenied: no"));
    CHECK(has(e.hint(), "environment"));
    CHECK(!has(e.message() + e.hint(), kSecret));
    CHECK(b.server.count() == 1);
}

TEST_CASE("a skewed clock is learned from Date, once") {
    auto skewed = [](const Req& r, Rep& reply) {
        std::string ahead = http_date(std::chrono::hours(2));
        // What the store compares: x-amz-date within 15 minutes of its own clock.
        TimePoint sent = parse_time(r.header("x-amz-date").substr(0, 15) + ".000Z");
        auto off = *parse_http_date(ahead) - sent;
        bool fits = off < std::chrono::minutes(15) && off > std::chrono::minutes(-15);
        if (fits)
            reply.send(200, "", {{"ETag", "\"e\""}, {"Date", ahead}});
        else
            reply.send(403, r.method == "HEAD" ? "" : error_xml("RequestTimeTooSkewed"),
                       {{"Date", ahead}});
    };
    Bench b(skewed);
    b.store().put("k", MemoryBody("x"));
    CHECK(b.server.count() == 2);
    b.store().put("k", MemoryBody("x")); // remembered
    CHECK(b.server.count() == 3);
    CHECK(b.store().clock_offset() > std::chrono::minutes(119));
    CHECK(b.store().clock_offset() < std::chrono::minutes(121));

    Bench head(skewed); // a HEAD's 403 has no code
    CHECK(head.store().head("k")->etag == "e");

    Bench never([](const Req&, Rep& reply) {
        reply.send(403, error_xml("RequestTimeTooSkewed"),
                   {{"Date", http_date(std::chrono::hours(2))}});
    });
    CHECK(error_of([&] { never.store().put("k", MemoryBody("x")); }) == ErrorKind::denied);
    CHECK(never.server.count() == 2);
}

TEST_CASE("an expired token is refreshed once") {
    Bench b([&](const Req& r, Rep& reply) {
        if (r.header("x-amz-security-token") == "new")
            reply.send(200, "", {{"ETag", "\"e\""}});
        else
            reply.send(400, error_xml("ExpiredToken"));
    });
    b.variables["AWS_SESSION_TOKEN"] = "old";
    b.options.environment = [&](const std::string& name) -> std::optional<std::string> {
        if (name == "AWS_SESSION_TOKEN") // somebody renews it after the first request
            return b.server.count() == 0 ? "old" : "new";
        auto it = b.variables.find(name);
        return it == b.variables.end() ? std::nullopt : std::optional(it->second);
    };
    b.store().put("k", MemoryBody("x"));
    CHECK(b.server.count() == 2);

    Bench stale([](const Req&, Rep& reply) { reply.send(400, error_xml("ExpiredToken")); });
    CHECK(error_of([&] { stale.store().put("k", MemoryBody("x")); }) == ErrorKind::denied);
    CHECK(stale.server.count() == 1); // the same keys again would be pointless
}

TEST_CASE("another region is learned once and remembered") {
    for (int status : {301, 400}) {
        CAPTURE(status);
        Bench b([status](const Req& r, Rep& reply) {
            if (has(r.credential(), "/eu-west-7/"))
                reply.send(200, "", {{"ETag", "\"e\""}});
            else if (status == 301)
                reply.send(301, r.method == "HEAD" ? "" : error_xml("PermanentRedirect"),
                           {{"x-amz-bucket-region", "eu-west-7"}});
            else
                reply.send(400,
                           error_xml("AuthorizationHeaderMalformed", "<Region>eu-west-7</Region>"));
        });
        b.store().put("k", MemoryBody("x"));
        CHECK(b.server.count() == 2);
        CHECK(b.store().head("k").has_value());
        CHECK(b.server.count() == 3);
    }
    Bench loop([](const Req& r, Rep& reply) {
        reply.send(301, error_xml("PermanentRedirect"),
                   {{"x-amz-bucket-region", "r" + std::to_string(r.number)}});
    });
    Error e = error_from([&] { loop.store().put("k", MemoryBody("x")); });
    CHECK(e.kind() == ErrorKind::config);
    CHECK(has(e.hint(), "region"));
    CHECK(loop.server.count() == 2);
}

TEST_CASE("a signature is never shown to another host") {
    FakeHttp thief([](const Req&, Rep& reply) { reply.send(200, "", {{"ETag", "\"e\""}}); });
    std::string elsewhere = "http://localhost:" + std::to_string(thief.port()) + "/buck/root/k";
    for (int status : {301, 302, 307, 308}) {
        Bench b([&](const Req&, Rep& reply) {
            reply.send(status, error_xml("TemporaryRedirect", "<Endpoint>evil.example</Endpoint>"),
                       {{"Location", elsewhere}});
        });
        CHECK(error_of([&] { b.store().put("k", MemoryBody("x")); }) == ErrorKind::config);
        CHECK(b.server.count() == 1);
    }
    for (const std::string& endpoint :
         {thief.authority() + "/x.localhost:1", // cut at its last colon it was "within" localhost
          thief.authority() + ":80.localhost", "u@localhost:" + std::to_string(thief.port()),
          "localhost:" + std::to_string(thief.port()) + "?x.localhost", std::string(":1")}) {
        INFO(endpoint);
        Bench b([&](const Req&, Rep& reply) {
            reply.send(307,
                       error_xml("TemporaryRedirect", "<Endpoint>" + endpoint + "</Endpoint>"));
        });
        b.url = "s3://buck/root?endpoint=http://localhost:" + std::to_string(b.server.port());
        CHECK(error_of([&] { b.store().put("k", MemoryBody("x")); }) == ErrorKind::config);
        CHECK(b.server.count() == 1);
    }
    CHECK(thief.count() == 0);
    // The same host on another port is the store's own business.
    Bench b([&](const Req&, Rep& reply) {
        reply.send(307, "", {{"Location", thief.url() + "/buck/root/k"}});
    });
    CHECK(b.store().put("k", MemoryBody("x")) == "e");
    CHECK(thief.count() == 1);
}

TEST_CASE("a download goes on where it broke off") {
    std::string data = conformance::pattern(300000, 9);
    for (bool ranged : {false, true}) {
        CAPTURE(ranged);
        std::size_t offset = ranged ? 1000 : 0, length = ranged ? 250000 : data.size();
        Bench b([&](const Req& r, Rep& reply) {
            std::size_t first = 0, last = data.size() - 1;
            bool partial = r.has("range");
            if (partial)
                std::sscanf(r.header("range").c_str(), "bytes=%zu-%zu", &first, &last);
            std::string part = data.substr(first, last - first + 1);
            std::string head = partial ? "HTTP/1.1 206 P\r\nContent-Range: bytes " +
                                             std::to_string(first) + '-' + std::to_string(last) +
                                             "/300000\r\n"
                                       : "HTTP/1.1 200 OK\r\n";
            head += "ETag: \"tag\"\r\nContent-Length: " + std::to_string(part.size()) + "\r\n\r\n";
            reply.raw(head + part.substr(0, r.number < 4 ? 70000 : part.size()));
            if (r.number < 4) {
                reply.sleep(50);
                r.number == 2 ? reply.reset() : reply.close();
            }
        });
        GetOptions options;
        if (ranged)
            options.range = ByteRange{offset, length};
        std::int64_t seen = 0;
        options.on_bytes = [&](std::int64_t n) { seen += n; };
        CHECK(text_of(b.store(), "k", options) == data.substr(offset, length));
        CHECK(seen == static_cast<std::int64_t>(length));
        auto requests = b.server.requests();
        REQUIRE(requests.size() == 4);
        CHECK(requests[0].has("if-match") == false);
        CHECK(requests[1].header("if-match") == "\"tag\"");
        CHECK(has(requests[1].header("range"), "bytes=" + std::to_string(offset + 70000) + "-"));
    }
}

TEST_CASE("replies that do not fit the request are refused before a byte passes") {
    struct Row {
        const char* what;
        int status;
        HeaderList headers;
        std::string body;
    };
    const Row rows[] = {
        {"whole object instead of the range", 200, {}, "0123456789"},
        {"another range", 206, {{"Content-Range", "bytes 0-4/10"}}, "01234"},
        {"shorter range", 206, {{"Content-Range", "bytes 2-3/10"}}, "23"},
        {"no Content-Range", 206, {}, "23456"},
        {"nonsense", 206, {{"Content-Range", "bytes 2-6/x"}}, "23456"},
        {"backwards", 206, {{"Content-Range", "bytes 6-2/10"}}, "23456"},
        {"beyond its own total", 206, {{"Content-Range", "bytes 2-6/5"}}, "23456"},
        {"more bytes than the range", 206, {{"Content-Range", "bytes 2-6/10"}}, "2345678"},
    };
    for (const Row& row : rows) {
        INFO(row.what);
        Bench b([&](const Req&, Rep& reply) { reply.send(row.status, row.body, row.headers); });
        GetOptions options;
        options.range = ByteRange{2, 5};
        MemorySink sink;
        CHECK(error_of([&] { b.store().get("k", sink, options); }) == ErrorKind::data);
        CHECK(sink.text.empty());
        CHECK(b.server.count() == 1);
    }
}

TEST_CASE("a reply that starts too early passes no byte, even if it is cut") {
    Bench b([](const Req&, Rep& reply) {
        reply.raw("HTTP/1.1 206 P\r\nContent-Range: bytes 0-6/10\r\nContent-Length: 7\r\n\r\n0123");
        reply.close();
    });
    GetOptions options;
    options.range = ByteRange{2, 5};
    MemorySink sink;
    CHECK(error_of([&] { b.store().get("k", sink, options); }) == ErrorKind::data);
    CHECK(sink.text.empty());
}

TEST_CASE("an object that changes while it is read is a conflict") {
    Bench b([](const Req& r, Rep& reply) {
        if (r.number == 1) {
            reply.raw("HTTP/1.1 200 OK\r\nETag: \"a\"\r\nContent-Length: 10\r\n\r\n01234");
            reply.close();
        } else {
            reply.send(412, error_xml("PreconditionFailed"));
        }
    });
    MemorySink sink;
    Error e = error_from([&] { b.store().get("k", sink, {}); });
    CHECK(e.kind() == ErrorKind::conflict);
    CHECK(has(e.message(), "while it was read"));
    CHECK(sink.text == "01234");
    CHECK(b.server.requests().at(1).header("if-match") == "\"a\"");
}

TEST_CASE("a download that never gets further is given up") {
    Bench b(
        [](const Req& r, Rep& reply) {
            if (r.has("range")) {
                reply.reset();
                return;
            }
            reply.raw("HTTP/1.1 200 OK\r\nETag: \"a\"\r\nContent-Length: 10\r\n\r\n01234");
            reply.close();
        },
        "", Millis(600));
    MemorySink sink;
    CHECK(error_of([&] { b.store().get("k", sink, {}); }) == ErrorKind::transient);
    CHECK(sink.text == "01234");
}

TEST_CASE("complete: errors inside a 200, lost replies and cut ones") {
    const std::string good = "  <CompleteMultipartUploadResult><ETag>\"x-1\"</ETag>"
                             "</CompleteMultipartUploadResult>";
    auto complete = [](Bench& b) {
        return error_of([&] { b.store().complete_upload("k", "i+/=", {{1, 5, "e"}}); });
    };
    Bench repeated([&](const Req& r, Rep& reply) {
        reply.send(200,
                   r.number < 3 ? error_xml(r.number == 1 ? "InternalError" : "SlowDown") : good);
    });
    repeated.store().complete_upload("k", "i+/=", {{1, 5, "e"}});
    CHECK(repeated.server.count() == 3);
    Req r = repeated.server.requests().at(0);
    CHECK(r.target == "/buck/root/k?uploadId=i%2B%2F%3D");
    CHECK(has(r.body, "<PartNumber>1</PartNumber><ETag>\"e\"</ETag>"));

    Bench refused([](const Req&, Rep& reply) { reply.send(200, error_xml("AccessDenied")); });
    CHECK(complete(refused) == ErrorKind::denied);
    CHECK(refused.server.count() == 1);

    Bench wrong_part([](const Req&, Rep& reply) { reply.send(400, error_xml("InvalidPart")); });
    CHECK(complete(wrong_part) == ErrorKind::data);

    Bench gone([](const Req&, Rep& reply) { reply.send(404, error_xml("NoSuchUpload")); });
    CHECK(complete(gone) == ErrorKind::gone);

    // What may have been carried out is not sent again: the caller looks at the object.
    for (const char* how : {"reset", "500", "503", "cut", "empty", "html"}) {
        CAPTURE(how);
        std::string kind = how;
        Bench b([&](const Req&, Rep& reply) {
            if (kind == "reset")
                reply.reset();
            else if (kind == "500")
                reply.send(500, error_xml("InternalError"));
            else if (kind == "503")
                reply.send(503);
            else if (kind == "cut")
                reply.send(200, good.substr(0, 60));
            else
                reply.send(200, kind == "html" ? "<html>hello</html>" : "");
        });
        CHECK(complete(b) == ErrorKind::transient);
        CHECK(b.server.count() == 1);
    }
    Bench throttled([&](const Req& request, Rep& reply) {
        if (request.number == 1)
            reply.send(503, error_xml("SlowDown")); // surely not carried out
        else
            reply.send(200, good);
    });
    throttled.store().complete_upload("k", "i", {{1, 5, "e"}});
    CHECK(throttled.server.count() == 2);
}

TEST_CASE("a complete is not resent by libcurl on a connection that died") {
    Bench b([](const Req& r, Rep& reply) {
        if (r.method == "POST")
            reply.reset();
        else
            reply.send(200, "", {{"ETag", "\"e\""}});
    });
    b.store().put("k", MemoryBody("x")); // leaves a pooled connection
    CHECK(error_of([&] {
              b.store().complete_upload("k", "i", {{1, 1, "e"}});
          }) == ErrorKind::transient);
    CHECK(b.server.count() == 2);
}

TEST_CASE("abort repeats until no part is listed") {
    Bench b([](const Req& r, Rep& reply) {
        if (r.method == "DELETE")
            reply.send(204);
        else if (r.number < 5) // a part that was on its way arrived after the abort
            reply.send(200, kOnePart);
        else
            reply.send(404, error_xml("NoSuchUpload"));
    });
    b.store().abort_upload("k", "i");
    int aborts = 0;
    for (const Req& r : b.server.requests())
        aborts += r.method == "DELETE";
    CHECK(aborts == 3);

    Bench stubborn(
        [](const Req& r, Rep& reply) { reply.send(r.method == "DELETE" ? 204 : 200, kOnePart); });
    CHECK(error_of([&] { stubborn.store().abort_upload("k", "i"); }) == ErrorKind::transient);

    Bench gone([](const Req&, Rep& reply) { reply.send(404, error_xml("NoSuchUpload")); });
    gone.store().abort_upload("k", "i");
}

TEST_CASE("head tells absent, refused and missing bucket apart") {
    auto reply_with = [](int status, const std::string& code) {
        return [=](const Req& r, Rep& reply) {
            reply.send(status, r.method == "HEAD" ? "" : error_xml(code));
        };
    };
    Bench absent(reply_with(404, "NoSuchKey"));
    CHECK(!absent.store().head("k").has_value());
    CHECK(absent.server.count() == 2); // which 404 is it?
    CHECK(!absent.store().head("k").has_value());
    CHECK(absent.server.count() == 3); // known now
    Bench bucket(reply_with(404, "NoSuchBucket"));
    CHECK(error_of([&] { bucket.store().head("k"); }) == ErrorKind::not_found);
    Bench refused(reply_with(403, "AccessDenied"));
    CHECK(error_of([&] { refused.store().head("k"); }) == ErrorKind::denied);
    Bench signature(reply_with(403, "SignatureDoesNotMatch"));
    CHECK(has(error_from([&] { signature.store().head("k"); }).message(), "SignatureDoesNotMatch"));
}

TEST_CASE("listings that make no sense are data errors, and end") {
    for (const char* body :
         {"", "not xml",
          "<ListBucketResult><IsTruncated>true</IsTruncated>"
          "<NextContinuationToken>same</NextContinuationToken></ListBucketResult>"}) {
        INFO(body);
        Bench b([&](const Req&, Rep& reply) { reply.send(200, body); });
        CHECK(error_of([&] { conformance::keys(b.store(), ""); }) == ErrorKind::data);
        CHECK(b.server.count() <= 2);
    }
    Bench parts([](const Req&, Rep& reply) {
        reply.send(200, "<ListPartsResult><IsTruncated>true</IsTruncated>"
                        "<NextPartNumberMarker>1</NextPartNumberMarker></ListPartsResult>");
    });
    CHECK(error_of([&] { parts.store().list_parts("k", "i"); }) == ErrorKind::data);
    CHECK(parts.server.count() == 2);
}

TEST_CASE("pages that go round in circles end as data errors") {
    // Tokens A, B, A, B: only a token equal to the one before was noticed.
    auto token = [](const Req& r) { return std::string(r.number % 2 ? "A" : "B"); };
    for (bool empty : {false, true}) {
        CAPTURE(empty);
        Bench b([&](const Req& r, Rep& reply) {
            reply.send(200, "<ListBucketResult><IsTruncated>true</IsTruncated>" +
                                (empty ? "" : contents("root/k" + token(r))) +
                                "<NextContinuationToken>" + token(r) +
                                "</NextContinuationToken></ListBucketResult>");
        });
        CHECK(error_of([&] { conformance::keys(b.store(), ""); }) == ErrorKind::data);
        CHECK(b.server.count() == 3);
    }
    Bench uploads([&](const Req& r, Rep& reply) {
        reply.send(200, "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated>"
                        "<NextKeyMarker>root/k</NextKeyMarker><NextUploadIdMarker>" +
                            token(r) + "</NextUploadIdMarker></ListMultipartUploadsResult>");
    });
    CHECK(error_of([&] { uploads.store().list_uploads(""); }) == ErrorKind::data);
    CHECK(uploads.server.count() == 3);
}

TEST_CASE("keys that were not asked for are not given on") {
    // zl-prune took what follows the prefix's length for the rest of a key: exit 70, or another
    // prefix's upload aborted.
    Bench b([](const Req& r, Rep& reply) {
        std::string body;
        for (const char* key : {"other/k/1", "r", "root/a", "root/k/1", "root/l/1"})
            body += has(r.target, "uploads")
                        ? std::string("<Upload><Key>") + key +
                              "</Key><UploadId>i</UploadId><Initiated>2026-11-22T06:00:00Z"
                              "</Initiated></Upload>"
                        : contents(key);
        const char* root =
            has(r.target, "uploads") ? "ListMultipartUploadsResult" : "ListBucketResult";
        reply.send(200, std::string("<") + root + "><IsTruncated>false</IsTruncated>" + body +
                            "</" + root + ">");
    });
    CHECK(conformance::keys(b.store(), "k/") == std::vector<std::string>{"k/1"});
    CHECK(conformance::keys(b.store(), "") == std::vector<std::string>{"a", "k/1", "l/1"});
    REQUIRE(b.store().list_uploads("k/").size() == 1);
    CHECK(b.store().list_uploads("k/")[0].key == "k/1");
    CHECK(b.store().list_uploads("").size() == 3);
}

TEST_CASE("a copied part whose 200 holds an error is an error") {
    Bench b([](const Req& r, Rep& reply) {
        reply.send(200, r.number == 1 ? error_xml("InternalError")
                                      : "<CopyPartResult><ETag>\"c\"</ETag></CopyPartResult>");
    });
    CHECK(b.store().upload_part_copy("k", "i", 2, "src +", "tag", {10, 20}) == "c");
    REQUIRE(b.server.count() == 2);
    Req r = b.server.requests().at(1);
    CHECK(r.header("x-amz-copy-source") == "/buck/root/src%20%2B");
    CHECK(r.header("x-amz-copy-source-range") == "bytes=10-29");
    CHECK(r.header("x-amz-copy-source-if-match") == "\"tag\"");
    Bench lacks([](const Req&, Rep& reply) { reply.send(501, error_xml("NotImplemented")); });
    CHECK(error_of([&] {
              lacks.store().upload_part_copy("k", "i", 2, "s", "t", {0, 1});
          }) == ErrorKind::unsupported);
    CHECK(lacks.server.count() == 1);
}

TEST_CASE("conditional put: conflict, race and unsupported") {
    PutOptions create;
    create.if_none_match = true;
    auto put = [&](Bench& b) {
        return error_of([&] { b.store().put("k", MemoryBody("x"), create); });
    };
    Bench exists([](const Req&, Rep& reply) { reply.send(412, error_xml("PreconditionFailed")); });
    CHECK(put(exists) == ErrorKind::conflict);
    CHECK(exists.server.count() == 1);
    Bench race([](const Req& r, Rep& reply) {
        reply.send(r.number < 3 ? 409 : 200,
                   r.number < 3 ? error_xml("ConditionalRequestConflict") : "");
    });
    race.store().put("k", MemoryBody("x"), create);
    CHECK(race.server.count() == 3);
    Bench lacks([](const Req&, Rep& reply) { reply.send(501, error_xml("NotImplemented")); });
    CHECK(put(lacks) == ErrorKind::unsupported);
}

TEST_CASE("a stop request wakes a waiting retry") {
    std::stop_source stop;
    Bench b([&](const Req&, Rep& reply) {
        reply.send(503, error_xml("SlowDown"), {{"Retry-After", "3"}});
        stop.request_stop();
    });
    b.options.stop = stop.get_token();
    auto began = Clock::now();
    CHECK_THROWS_AS(b.store().put("k", MemoryBody("x")), Interrupted);
    CHECK(Clock::now() - began < Millis(1000));
}

TEST_CASE("no retry waits past the time limit of the run") {
    Bench b([](const Req&, Rep& reply) {
        reply.send(503, error_xml("SlowDown"), {{"Retry-After", "4"}});
    });
    b.options.timeout = Millis(1000);
    auto began = Clock::now();
    CHECK(error_of([&] { b.store().put("k", MemoryBody("x")); }) == ErrorKind::transient);
    CHECK(Clock::now() - began < Millis(3000));
}

TEST_CASE("no credentials: denied, with a list of what was looked at") {
    Bench b([](const Req&, Rep& reply) { reply.send(200); });
    b.variables.erase("AWS_ACCESS_KEY_ID");
    b.variables.erase("AWS_SECRET_ACCESS_KEY");
    Error e = error_from([&] { b.store().put("k", MemoryBody("x")); });
    CHECK(e.kind() == ErrorKind::denied);
    for (const char* part : {"AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "\"default\"",
                             "/nonexistent/.aws/credentials (absent)", "container endpoint",
                             "AWS_EC2_METADATA_DISABLED"}) {
        INFO(e.hint());
        CHECK(has(e.hint(), part));
    }
    CHECK(b.server.count() == 0);
}

TEST_CASE("the log has one line per request and no secret") {
    Bench b([](const Req& r, Rep& reply) {
        reply.send(r.number == 1 ? 503 : 200, "", {{"x-amz-request-id", "REQ1"}});
    });
    b.variables["AWS_SESSION_TOKEN"] = "token-not-to-be-seen";
    b.store().put("k", MemoryBody("x"));
    CHECK(has(b.log.text, "put s3://buck/root/k: 200"));
    CHECK(has(b.log.text, "REQ1"));
    for (const char* part :
         {kSecret, "token-not-to-be-seen", "Signature", "Authorization", "AWS4-HMAC"})
        CHECK(!has(b.log.text, part));
}

TEST_CASE("region and endpoint come from the nearest place that names them") {
    struct Row {
        std::string url;
        std::map<std::string, std::string> variables;
        std::string endpoint; ///< empty = AWS
        std::string region;
        bool virtual_host;
    };
    const std::map<std::string, std::string> all = {{"AWS_ENDPOINT_URL_S3", "http://s3-var:1"},
                                                    {"AWS_ENDPOINT_URL", "http://var:2"},
                                                    {"AWS_REGION", "r-var"},
                                                    {"AWS_DEFAULT_REGION", "r-default"}};
    const Row rows[] = {
        {"s3://bucket", {}, "", "us-east-1", true},
        {"s3://my.bucket", {}, "", "us-east-1", false},
        {"s3://Bucket", {}, "", "us-east-1", false},
        {"s3://bucket?addressing=path", {}, "", "us-east-1", false},
        {"s3://bucket?endpoint=http://u:80", all, "http://u", "r-var", false},
        {"s3://bucket?endpoint=https://U:443/&region=r-url", all, "https://u", "r-url", false},
        {"s3://bucket", all, "http://s3-var:1", "r-var", false},
        {"s3://bucket?addressing=virtual", all, "http://s3-var:1", "r-var", true},
        {"s3://bucket",
         {{"AWS_ENDPOINT_URL", "http://var:2"}, {"AWS_DEFAULT_REGION", "r-default"}},
         "http://var:2",
         "r-default",
         false},
        {"s3://bucket",
         {{"AWS_ENDPOINT_URL", "http://var:2"}, {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"}},
         "",
         "us-east-1",
         true},
    };
    for (const Row& row : rows) {
        INFO(row.url);
        Environment environment = [&](const std::string& name) -> std::optional<std::string> {
            auto it = row.variables.find(name);
            return it == row.variables.end() ? std::nullopt : std::optional(it->second);
        };
        S3Settings got = resolve_s3_settings(StoreUrl::parse(row.url), environment, AwsConfig());
        CHECK((got.endpoint ? got.endpoint->url() : "") == row.endpoint);
        CHECK(got.region == row.region);
        CHECK(got.virtual_host == row.virtual_host);
    }
}

TEST_SUITE_END();
