/// A real S3 server behind tests/support/faultproxy.py: ZL_TEST_S3_STORE points at the proxy and
/// ZL_TEST_FAULT_CONTROL at its control port (http://127.0.0.1:PORT). Skipped without.
#include "base/json.hpp"
#include "conformance.hpp"
#include "store/http_client.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <future>

using namespace zl;
using namespace zl::conformance;

namespace {

const char* const kControl = std::getenv("ZL_TEST_FAULT_CONTROL");

/// Talks to the proxy's control port.
class Faults {
public:
    void set(const std::string& rules) { call("PUT", "/rules", rules); }
    void clear() {
        call("DELETE", "/rules");
        call("DELETE", "/log");
    }
    /// Requests of @p method that the server answered or that met a fault.
    int count(const std::string& method) {
        Json log = parse_json(call("GET", "/log"), "log");
        int n = 0;
        for (const Json& entry : log)
            n += entry["method"] == method;
        return n;
    }

private:
    std::string call(const std::string& method, const std::string& path,
                     const std::string& text = {}) {
        HttpRequest request;
        request.method = method;
        request.url = kControl + path;
        MemoryBody body(text);
        if (method == "PUT")
            request.body = &body;
        HttpResponse reply = client_.perform(request);
        REQUIRE(reply.status == 200);
        return reply.body;
    }
    HttpClient client_{HttpClient::Options{}};
};

void on_s3(const std::function<void(ObjectStore&, Faults&)>& check) {
    for_each_store([&](const Place& place) {
        if (!place.is_s3)
            return;
        Faults faults;
        faults.clear();
        check(*place.open(), faults);
        faults.clear();
    });
}

std::string rule(const std::string& method, const std::string& path, const std::string& rest) {
    return R"([{"method":")" + method + R"(","path":")" + path + "\"," + rest + "}]";
}

} // namespace

TEST_SUITE_BEGIN("store/faults" * doctest::skip(kControl == nullptr));

TEST_CASE("a put survives what happens on the way") {
    const std::string data = pattern(3000000, 1);
    for (const char* fault :
         {R"("action":"reset_before")", R"("action":"reset_after_req_bytes","bytes":1000000)",
          R"("action":"lose_response")", R"("action":"status","status":503,"retry_after":1)",
          R"("action":"status","status":500,"code":"InternalError","early":true)",
          R"("action":"corrupt_request","bytes":12345)", R"("action":"reset_before","count":3)",
          R"("action":"latency","seconds":0.5)"}) {
        INFO(fault);
        on_s3([&](ObjectStore& store, Faults& faults) {
            store.put("warm", MemoryBody("x")); // a pooled connection
            faults.set(rule("PUT", "/p", fault));
            std::int64_t sent = 0;
            PutOptions options;
            options.on_bytes = [&](std::int64_t n) { sent += n; };
            store.put("p", MemoryBody(data), options);
            CHECK(sent == 3000000);
            CHECK(text_of(store, "p") == data);
        });
    }
}

TEST_CASE("a get survives what happens on the way") {
    const std::string data = pattern(5000000, 2);
    for (const char* fault :
         {R"("action":"reset_before")", R"("action":"truncate_response","bytes":1000000)",
          R"("action":"truncate_response","bytes":1000000,"rst":true,"count":4)",
          R"("action":"truncate_response","bytes":0)", R"("action":"lose_response")",
          R"("action":"status","status":503)"}) {
        INFO(fault);
        on_s3([&](ObjectStore& store, Faults& faults) {
            store.put("g", MemoryBody(data));
            faults.set(rule("GET", "/g", fault));
            CHECK(text_of(store, "g") == data);
            CHECK(faults.count("GET") >= 2);
        });
    }
}

TEST_CASE("a stalled get goes on after half a minute") {
    const std::string data = pattern(3000000, 3);
    on_s3([&](ObjectStore& store, Faults& faults) {
        store.put("s", MemoryBody(data));
        faults.set(rule("GET", "/s", R"("action":"stall_response","bytes":500000,"seconds":100)"));
        auto began = std::chrono::steady_clock::now();
        CHECK(text_of(store, "s") == data);
        CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(40));
    });
}

TEST_CASE("parts survive, and a corrupted one is sent again") {
    const std::string data = pattern(kPart, 4);
    on_s3([&](ObjectStore& store, Faults& faults) {
        std::string id = store.create_upload("m", {});
        faults.set(rule("PUT", "partNumber", R"("action":"corrupt_request","bytes":1000)"));
        std::string etag = store.upload_part("m", id, 1, MemoryBody(data));
        CHECK(faults.count("PUT") == 2);
        store.complete_upload("m", id, {{1, data.size(), etag}});
        CHECK(text_of(store, "m") == data);
    });
}

TEST_CASE("a lost reply of complete is reported, not repeated") {
    on_s3([&](ObjectStore& store, Faults& faults) {
        std::string id = store.create_upload("c", {});
        std::string etag = store.upload_part("c", id, 1, MemoryBody("body"));
        faults.clear();
        faults.set(rule("POST", "uploadId=", R"("action":"lose_response")"));
        CHECK(error_of([&] {
                  store.complete_upload("c", id, {{1, 4, etag}});
              }) == ErrorKind::transient);
        CHECK(faults.count("POST") == 1);
        CHECK(text_of(store, "c") == "body"); // it was carried out
    });
}

TEST_CASE("an error inside the 200 of complete is tried again") {
    on_s3([&](ObjectStore& store, Faults& faults) {
        std::string id = store.create_upload("c", {});
        std::string etag = store.upload_part("c", id, 1, MemoryBody("body"));
        faults.clear();
        faults.set(rule(
            "POST", "uploadId=", R"("action":"error_in_200","code":"InternalError","count":2)"));
        store.complete_upload("c", id, {{1, 4, etag}});
        CHECK(faults.count("POST") == 3);
        CHECK(text_of(store, "c") == "body");
    });
}

TEST_CASE("a storm of 503 is ridden out") {
    on_s3([&](ObjectStore& store, Faults& faults) {
        faults.set(R"([{"action":"status","status":503,"code":"SlowDown","prob":0.4,"count":-1}])");
        std::vector<std::future<void>> work;
        for (int t = 0; t < 4; ++t)
            work.push_back(std::async(std::launch::async, [&, t] {
                for (int i = 0; i < 10; ++i)
                    store.put(std::to_string(t * 10 + i), MemoryBody("x"));
            }));
        for (auto& w : work)
            w.get();
        CHECK(keys(store, "").size() == 40);
    });
}

TEST_SUITE_END();
