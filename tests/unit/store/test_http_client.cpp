#include "fake_http.hpp"
#include "store/http_client.hpp"
#include "store/token_bucket.hpp"

#include <doctest/doctest.h>

#include <condition_variable>
#include <cstdlib>
#include <future>
#include <set>
#include <thread>

using namespace zl;
using Clock = std::chrono::steady_clock;

namespace {

HttpClient::Options quick() {
    HttpClient::Options options;
    options.connect_timeout = std::chrono::seconds(2);
    return options;
}

Millis since(Clock::time_point t) {
    return std::chrono::duration_cast<Millis>(Clock::now() - t);
}

HttpRequest get(const std::string& url) {
    HttpRequest request;
    request.url = url;
    return request;
}

std::string noise(std::size_t size) {
    std::string out(size, '\0');
    unsigned x = 1;
    for (char& c : out)
        c = static_cast<char>((x = x * 1664525 + 1013904223) >> 24);
    return out;
}

} // namespace

TEST_SUITE_BEGIN("store/http_client");

TEST_CASE("a reply has status, headers and body") {
    FakeHttp server([](const FakeHttp::Request&, FakeHttp::Reply& reply) {
        reply.send(404, "not here", {{"X-Amz-Request-Id", " abc "}, {"ETag", "\"e\""}});
    });
    HttpClient client(quick());
    HttpResponse reply = client.perform(get(server.url() + "/x"));
    CHECK(reply.transport == Transport::ok);
    CHECK(reply.status == 404);
    CHECK(reply.body == "not here");
    REQUIRE(reply.header("x-amz-request-id"));
    CHECK(*reply.header("x-amz-request-id") == "abc");
    CHECK(*reply.header("etag") == "\"e\"");
    CHECK(!reply.header("absent"));
}

TEST_CASE("paths and headers go out as given, bodies whole and with their length") {
    FakeHttp server([](const FakeHttp::Request&, FakeHttp::Reply& reply) { reply.send(200); });
    HttpClient client(quick());
    std::string data = noise(3000000);
    MemoryBody body(data);
    HttpRequest request = get(server.url() + "/a//b/./../c%2F%20d?x=%2B&uploads=");
    request.method = "PUT";
    request.headers = {{"x-empty", ""}, {"x-amz-meta-a", "b c"}};
    request.body = &body;
    std::int64_t sent = 0;
    request.on_sent = [&](std::int64_t bytes) { sent += bytes; };
    CHECK(client.perform(request).status == 200);
    auto seen = server.requests().at(0);
    CHECK(seen.method == "PUT");
    CHECK(seen.target == "/a//b/./../c%2F%20d?x=%2B&uploads=");
    CHECK(seen.body == data);
    CHECK(seen.header("content-length") == "3000000");
    CHECK(seen.has("x-empty"));
    CHECK(seen.header("x-amz-meta-a") == "b c");
    for (const char* name : {"expect", "transfer-encoding", "accept-encoding", "content-type"}) {
        INFO(name);
        CHECK(!seen.has(name));
    }
    CHECK(sent == 3000000);
}

TEST_CASE("methods with and without a body") {
    FakeHttp server([](const FakeHttp::Request&, FakeHttp::Reply& reply) {
        reply.send(200, "body", {{"Content-Length", "4"}});
    });
    HttpClient client(quick());
    MemoryBody empty(""), form("a=b");
    for (const char* method : {"GET", "HEAD", "DELETE"}) {
        HttpRequest request = get(server.url() + "/");
        request.method = method;
        HttpResponse reply = client.perform(request);
        CHECK(reply.status == 200);
        CHECK(server.requests().back().method == method);
        CHECK(reply.body == (std::string(method) == "HEAD" ? "" : "body"));
    }
    for (const char* method : {"PUT", "POST"})
        for (const Body* body : {&empty, &form}) {
            HttpRequest request = get(server.url() + "/");
            request.method = method;
            request.body = body;
            CHECK(client.perform(request).status == 200);
            CHECK(server.requests().back().method == method);
            CHECK(server.requests().back().header("content-length") ==
                  std::to_string(body->size()));
        }
}

TEST_CASE("a line break in a header is refused") {
    FakeHttp server([](const FakeHttp::Request&, FakeHttp::Reply& reply) { reply.send(200); });
    HttpClient client(quick());
    HttpRequest request = get(server.url() + "/");
    request.headers = {{"x-amz-meta-a", "b\r\nx-evil: 1"}};
    CHECK_THROWS_AS(client.perform(request), Error);
    CHECK(server.count() == 0);
}

TEST_CASE("redirects are not followed") {
    FakeHttp server([](const FakeHttp::Request&, FakeHttp::Reply& reply) {
        reply.send(307, "", {{"Location", "/elsewhere"}});
    });
    HttpClient client(quick());
    CHECK(client.perform(get(server.url() + "/")).status == 307);
    CHECK(server.count() == 1);
}

TEST_CASE("connections are used again, unless a fresh one is wanted") {
    FakeHttp server([](const FakeHttp::Request&, FakeHttp::Reply& reply) { reply.send(200); });
    HttpClient client(quick());
    for (int i = 0; i < 3; ++i)
        client.perform(get(server.url() + "/"));
    CHECK(server.requests().back().connection == 1);
    HttpRequest fresh = get(server.url() + "/");
    fresh.fresh_connection = true;
    client.perform(fresh);
    CHECK(server.requests().back().connection == 2);
}

TEST_CASE("a pooled connection that died is replaced and the body sent again") {
    FakeHttp server([](const FakeHttp::Request& request, FakeHttp::Reply& reply) {
        // The second request arrives on the pooled connection, and is cut off unanswered.
        if (request.number == 2)
            reply.reset();
        else
            reply.send(200);
    });
    HttpClient client(quick());
    std::string data = noise(1000000);
    MemoryBody body(data);
    HttpRequest put = get(server.url() + "/");
    put.method = "PUT";
    put.body = &body;
    std::int64_t sent = 0;
    put.on_sent = [&](std::int64_t bytes) { sent += bytes; };
    CHECK(client.perform(put).status == 200);
    HttpResponse reply = client.perform(put);
    CHECK(reply.transport == Transport::ok);
    CHECK(reply.status == 200);
    auto seen = server.requests();
    REQUIRE(seen.size() == 3);
    CHECK(seen[1].connection == 1);
    CHECK(seen[2].connection == 2);
    CHECK(seen[2].body == data);
    CHECK(sent == 2000000); // what was sent twice was taken back once
    put.fresh_connection = true;
}

TEST_CASE("what the network does is told apart") {
    FakeHttp server([](const FakeHttp::Request& request, FakeHttp::Reply& reply) {
        if (request.target == "/reset")
            reply.reset();
        else if (request.target == "/cut") {
            reply.raw("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this");
            reply.close();
        } else if (request.target == "/cut-reset") {
            reply.raw("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this");
            reply.sleep(100);
            reply.reset();
        } else if (request.target == "/chunked") {
            reply.raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n");
            reply.close();
        } else if (request.target == "/nonsense") {
            reply.raw("SSH-2.0-OpenSSH\r\n");
            reply.close();
        } else if (request.target == "/empty")
            reply.close();
        else
            reply.hang();
    });
    HttpClient client(quick());
    auto result = [&](const std::string& path) { return client.perform(get(server.url() + path)); };
    CHECK(result("/reset").transport == Transport::broken);
    CHECK(result("/empty").transport == Transport::broken);
    for (const char* path : {"/cut", "/cut-reset", "/chunked"}) {
        INFO(path);
        HttpResponse reply = result(path);
        CHECK(reply.transport == Transport::broken);
        CHECK(reply.status == 200);
        CHECK(reply.body == "only this"); // what came is not lost
        CHECK(!reply.transport_error.empty());
    }
    Transport nonsense = result("/nonsense").transport;
    CHECK((nonsense == Transport::broken || nonsense == Transport::bad_reply));

    HttpRequest stalled = get(server.url() + "/hang");
    stalled.stall_time = std::chrono::seconds(1);
    auto began = Clock::now();
    CHECK(client.perform(stalled).transport == Transport::stalled);
    CHECK(since(began) < Millis(4000));

    CHECK(client.perform(get("http://name.invalid/")).transport == Transport::resolve);
    CHECK(client.perform(get("ftp://127.0.0.1/")).transport == Transport::bad_url);
    int port = 0;
    {
        FakeHttp gone([](const FakeHttp::Request&, FakeHttp::Reply&) {});
        port = gone.port();
    }
    CHECK(client.perform(get("http://127.0.0.1:" + std::to_string(port) + "/")).transport ==
          Transport::connect);
}

TEST_CASE("a connection that trickles counts as stalled") {
    FakeHttp server([](const FakeHttp::Request&, FakeHttp::Reply& reply) {
        reply.raw("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        while (reply.raw("x"))
            reply.sleep(20);
    });
    HttpClient client(quick());
    HttpRequest request = get(server.url() + "/");
    request.stall_time = std::chrono::seconds(2);
    HttpResponse reply = client.perform(request);
    CHECK(reply.transport == Transport::stalled);
    CHECK(!reply.body.empty());
}

TEST_CASE("a slow sink holds up its own transfer only, with bounded memory") {
    std::atomic<std::size_t> served{0};
    constexpr std::size_t kTotal = 64 << 20;
    FakeHttp server([&](const FakeHttp::Request& request, FakeHttp::Reply& reply) {
        if (request.target == "/small") {
            reply.send(200, "small");
            return;
        }
        reply.raw("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(kTotal) + "\r\n\r\n");
        std::string block = noise(1 << 16);
        while (served < kTotal && reply.raw(block))
            served += block.size();
    });
    HttpClient client(quick());
    std::promise<void> first_bytes, go_on;
    auto may_go_on = go_on.get_future();
    std::size_t received = 0;
    FunctionSink slow([&](Bytes data) {
        if (received == 0) {
            first_bytes.set_value();
            may_go_on.wait();
        }
        received += data.size();
    });
    HttpRequest big = get(server.url() + "/big");
    big.choose_sink = [&](const HttpResponse& head) -> Sink* {
        CHECK(head.status == 200);
        return &slow;
    };
    big.stall_time = std::chrono::seconds(1); // waiting for the sink is not a stall
    auto result = std::async(std::launch::async, [&] { return client.perform(big); });
    first_bytes.get_future().wait();
    for (int i = 0; i < 20; ++i) {
        CHECK(client.perform(get(server.url() + "/small")).body == "small");
        std::this_thread::sleep_for(Millis(100));
    }
    // The kernel's socket buffers and ours, but nothing like the whole.
    CHECK(served < kTotal / 2);
    go_on.set_value();
    HttpResponse reply = result.get();
    CHECK(reply.transport == Transport::ok);
    CHECK(received == kTotal);
    CHECK(reply.body.empty());
}

TEST_CASE("a prompt sink gets every byte in order, and what it throws reaches the caller") {
    const std::string content = noise(8 << 20);
    FakeHttp server(
        [&](const FakeHttp::Request&, FakeHttp::Reply& reply) { reply.send(200, content); });
    struct Prompt final : Sink {
        std::string got;
        std::size_t limit = SIZE_MAX;
        std::set<std::thread::id> threads;
        bool prompt() const override { return true; }
        void write(Bytes data) override {
            if (got.size() + data.size() > limit)
                throw Error(ErrorKind::data, "enough");
            got += as_text(data);
            threads.insert(std::this_thread::get_id());
        }
    };
    HttpClient client(quick());
    Prompt all, little;
    HttpRequest request = get(server.url() + "/");
    request.choose_sink = [&](const HttpResponse&) { return &all; };
    // What comes before the head was looked at is written here, seldom all of it; the rest by the
    // client's own thread, without a hand-over.
    for (int i = 0; i < 50 && all.threads.empty(); ++i) {
        all.got.clear();
        CHECK(client.perform(request).transport == Transport::ok);
        CHECK(all.got == content);
        all.threads.erase(std::this_thread::get_id());
    }
    CHECK(all.threads.size() == 1);
    little.limit = 1 << 20;
    request.choose_sink = [&](const HttpResponse&) { return &little; };
    CHECK_THROWS_AS(client.perform(request), Error);
    CHECK(little.got == content.substr(0, little.got.size()));
}

TEST_CASE("what sink, body and callbacks throw reaches the caller, and the client works on") {
    FakeHttp server(
        [](const FakeHttp::Request&, FakeHttp::Reply& reply) { reply.send(200, noise(4 << 20)); });
    struct Boom {};
    struct BadBody final : Body {
        std::uint64_t size() const override { return 1 << 20; }
        void read(std::uint64_t offset, std::span<std::byte>) const override {
            if (offset > 0)
                throw Boom();
        }
    } bad;
    HttpClient client(quick());
    FunctionSink full([](Bytes) { throw Boom(); });
    HttpRequest down = get(server.url() + "/");
    down.choose_sink = [&](const HttpResponse&) { return &full; };
    CHECK_THROWS_AS(client.perform(down), Boom);
    down.choose_sink = [](const HttpResponse&) -> Sink* { throw Boom(); };
    CHECK_THROWS_AS(client.perform(down), Boom);
    HttpRequest up = get(server.url() + "/");
    up.method = "PUT";
    up.body = &bad;
    CHECK_THROWS_AS(client.perform(up), Boom);
    HttpRequest limited = get(server.url() + "/");
    limited.max_body = 1000;
    CHECK_THROWS_AS(client.perform(limited), Error);
    CHECK(client.perform(get(server.url() + "/")).body.size() == 4 << 20);
}

TEST_CASE("a stop request ends transfers at once") {
    FakeHttp server([](const FakeHttp::Request&, FakeHttp::Reply& reply) { reply.hang(); });
    std::stop_source stop;
    HttpClient::Options options = quick();
    options.stop = stop.get_token();
    HttpClient client(options);
    std::vector<std::future<Millis>> ended;
    std::atomic<std::int64_t> stopped_at{0};
    for (int i = 0; i < 4; ++i)
        ended.push_back(std::async(std::launch::async, [&] {
            CHECK_THROWS_AS(client.perform(get(server.url() + "/")), Interrupted);
            return std::chrono::duration_cast<Millis>(Clock::now().time_since_epoch());
        }));
    while (server.count() < 4)
        std::this_thread::sleep_for(Millis(5));
    stopped_at = std::chrono::duration_cast<Millis>(Clock::now().time_since_epoch()).count();
    stop.request_stop();
    for (auto& end : ended)
        CHECK(end.get().count() - stopped_at < 300);
    CHECK_THROWS_AS(client.perform(get(server.url() + "/")), Interrupted);
}

TEST_CASE("the time limit of the run ends transfers") {
    FakeHttp server([](const FakeHttp::Request&, FakeHttp::Reply& reply) { reply.hang(); });
    HttpClient::Options options = quick();
    options.deadline = Clock::now() + Millis(300);
    HttpClient client(options);
    auto began = Clock::now();
    CHECK(client.perform(get(server.url() + "/")).transport == Transport::deadline);
    CHECK(since(began) >= Millis(200));
    CHECK(since(began) < Millis(2000));
}

TEST_CASE("a token bucket gives its rate, pays debts and saves up a tenth of a second") {
    using std::chrono::milliseconds;
    auto t = Clock::now();
    TokenBucket bucket(10000, t);
    CHECK(bucket.grant(500, t) == 0);
    CHECK(bucket.grant(500, t + milliseconds(10)) == 100);
    bucket.spend(100);
    CHECK(bucket.grant(500, t + milliseconds(10)) == 0);
    CHECK(bucket.grant(5000, t + milliseconds(5000)) == 1000);
    bucket.spend(3000); // 2000 more than there were
    CHECK(bucket.grant(1, t + milliseconds(5150)) == 0);
    CHECK(bucket.wait(t + milliseconds(5150)) > milliseconds(40));
    CHECK(bucket.wait(t + milliseconds(5150)) < milliseconds(60));
    CHECK(bucket.grant(1, t + milliseconds(5210)) == 1);
    TokenBucket unlimited(0, t);
    CHECK(unlimited.grant(1 << 30, t) == 1 << 30);
    unlimited.spend(1 << 30);
    CHECK(unlimited.grant(5, t) == 5);
}

TEST_CASE("the bandwidth limit holds for all transfers together") {
    FakeHttp server([](const FakeHttp::Request& request, FakeHttp::Reply& reply) {
        reply.send(200, request.method == "GET" ? noise(500000) : "");
    });
    HttpClient::Options options = quick();
    options.bwlimit = 1000000;
    HttpClient client(options);
    std::string data = noise(500000);
    auto began = Clock::now();
    {
        std::vector<std::jthread> threads;
        for (int i = 0; i < 2; ++i) {
            threads.emplace_back([&] {
                MemoryBody body(data);
                HttpRequest put = get(server.url() + "/");
                put.method = "PUT";
                put.body = &body;
                CHECK(client.perform(put).status == 200);
            });
            threads.emplace_back(
                [&] { CHECK(client.perform(get(server.url() + "/")).body == data); });
        }
    }
    // 2 MB at 1 MB/s
    CHECK(since(began) > Millis(1600));
    CHECK(since(began) < Millis(10000));
    for (const auto& request : server.requests())
        if (request.method == "PUT")
            CHECK(request.body == data);
}

TEST_CASE("proxies come from the environment") {
    FakeHttp proxy(
        [](const FakeHttp::Request&, FakeHttp::Reply& reply) { reply.send(200, "via"); });
    FakeHttp direct(
        [](const FakeHttp::Request&, FakeHttp::Reply& reply) { reply.send(200, "own"); });
    HttpClient client(quick());
    ::setenv("http_proxy", proxy.url().c_str(), 1);
    CHECK(client.perform(get("http://store.invalid/k")).body == "via");
    CHECK(proxy.requests().at(0).target == "http://store.invalid/k");
    HttpRequest link_local = get(direct.url() + "/");
    link_local.bypass_proxy = true;
    CHECK(client.perform(link_local).body == "own");
    ::setenv("no_proxy", "127.0.0.1", 1);
    CHECK(client.perform(get(direct.url() + "/")).body == "own");
    ::unsetenv("http_proxy");
    ::unsetenv("no_proxy");
}

TEST_CASE("a CA file that does not exist is an error of the settings") {
    HttpClient::Options options = quick();
    options.ca_file = "/nonexistent/ca.pem";
    HttpClient client(options);
    FakeHttp server([](const FakeHttp::Request&, FakeHttp::Reply& reply) { reply.send(200); });
    CHECK(client.perform(get("https://127.0.0.1:" + std::to_string(server.port()))).transport ==
          Transport::untrusted);
}

TEST_CASE("many small requests from many threads") {
    FakeHttp server([](const FakeHttp::Request& request, FakeHttp::Reply& reply) {
        reply.send(200, request.target);
    });
    HttpClient::Options options = quick();
    options.connections = 4;
    HttpClient client(options);
    std::atomic<int> good{0};
    {
        std::vector<std::jthread> threads;
        for (int t = 0; t < 16; ++t)
            threads.emplace_back([&, t] {
                for (int i = 0; i < 50; ++i) {
                    std::string path = "/" + std::to_string(t) + "-" + std::to_string(i);
                    good += client.perform(get(server.url() + path)).body == path;
                }
            });
    }
    CHECK(good == 800);
    int connections = 0;
    for (const auto& request : server.requests())
        connections = std::max(connections, request.connection);
    CHECK(connections <= 8);
}

TEST_SUITE_END();
