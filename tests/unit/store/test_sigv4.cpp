#include "base/file.hpp"
#include "base/json.hpp"
#include "store/sigv4.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

using namespace zl;

namespace {

std::string signature(const SigV4Request& request, PathMode mode, const std::string& id,
                      const std::string& secret, const std::string& time,
                      const SigningScope& scope) {
    SigningKeyCache cache;
    std::string header =
        authorization_header(request, mode, id, secret, parse_time(time), scope, cache);
    return header.substr(header.rfind('=') + 1);
}

/// AWS documents four S3 requests with their signatures: "Signature Calculations for the
/// Authorization Header", examples of the Amazon S3 API Reference.
std::string doc_signature(SigV4Request request) {
    request.headers.emplace_back("x-amz-date", "20130524T000000Z");
    request.headers.emplace_back("x-amz-content-sha256", request.payload_hash);
    request.headers.emplace_back("Host", "examplebucket.s3.amazonaws.com");
    return signature(request, PathMode::s3, "AKIAIOSFODNN7EXAMPLE",
                     "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "2013-05-24T00:00:00Z",
                     {"us-east-1", "s3"});
}

const std::string kNothing = sha256({}).hex();

/// One case of AWS's published suite, as its request.txt has it.
SigV4Request read_case(const std::string& text) {
    SigV4Request out;
    std::size_t line_end = text.find('\n');
    std::string first = text.substr(0, line_end);
    std::size_t space = first.find(' '), last = first.rfind(' ');
    out.method = first.substr(0, space);
    std::string target = first.substr(space + 1, last - space - 1);
    std::size_t question = target.find('?');
    out.path = percent_decode(target.substr(0, question));
    while (question != std::string::npos) {
        std::size_t end = target.find('&', question + 1);
        std::string item = target.substr(question + 1, end - question - 1);
        std::size_t equals = item.find('=');
        out.query.emplace_back(
            percent_decode(item.substr(0, equals)),
            equals == std::string::npos ? "" : percent_decode(item.substr(equals + 1)));
        question = end;
    }
    std::size_t at = line_end + 1;
    std::string body;
    while (at < text.size()) {
        std::size_t end = std::min(text.find('\n', at), text.size());
        std::string line = text.substr(at, end - at);
        at = end + 1;
        if (line.empty()) {
            body = at < text.size() ? text.substr(at) : "";
            break;
        }
        if (line[0] == ' ') { // obs-fold
            out.headers.back().second += line;
            continue;
        }
        std::size_t colon = line.find(':');
        out.headers.emplace_back(line.substr(0, colon), line.substr(colon + 1));
    }
    out.payload_hash = sha256(as_bytes(body)).hex();
    return out;
}

} // namespace

TEST_SUITE_BEGIN("store/sigv4");

TEST_CASE("signs the documented S3 examples") {
    SigV4Request get{"GET", "/test.txt", {}, {{"Range", "bytes=0-9"}}, kNothing};
    CHECK(doc_signature(get) == "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");

    std::string body = "Welcome to Amazon S3.";
    SigV4Request put{
        "PUT",
        "/test$file.text",
        {},
        {{"Date", "Fri, 24 May 2013 00:00:00 GMT"}, {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
        sha256(as_bytes(body)).hex()};
    CHECK(doc_signature(put) == "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");

    SigV4Request lifecycle{"GET", "/", {{"lifecycle", ""}}, {}, kNothing};
    CHECK(doc_signature(lifecycle) ==
          "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");

    SigV4Request list{"GET", "/", {{"prefix", "J"}, {"max-keys", "2"}}, {}, kNothing};
    CHECK(doc_signature(list) ==
          "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

TEST_CASE("S3 paths are encoded once and never shortened") {
    struct Row {
        const char* path;
        const char* s3;
        const char* normalized;
    };
    const Row rows[] = {
        {"", "/", "/"},
        {"/", "/", "/"},
        {"/a b", "/a%20b", "/a%20b"},
        {"/a+b", "/a%2Bb", "/a%2Bb"},
        {"/a%2Fb", "/a%252Fb", "/a%252Fb"},
        {"/b/k=1:2@3,4*(5)", "/b/k%3D1%3A2%403%2C4%2A%285%29", "/b/k%3D1%3A2%403%2C4%2A%285%29"},
        {"/~-._aZ9", "/~-._aZ9", "/~-._aZ9"},
        {"/\xc3\xbc", "/%C3%BC", "/%C3%BC"},
        {"//x", "//x", "/x"},
        {"/a//b/", "/a//b/", "/a/b/"},
        {"/a/../b", "/a/../b", "/b"},
        {"/a/./b", "/a/./b", "/a/b"},
        {"/a/..", "/a/..", "/"},
        {"/../a", "/../a", "/a"},
    };
    for (const Row& row : rows) {
        INFO("path: ", row.path);
        CHECK(canonical_path(row.path, PathMode::s3) == row.s3);
        CHECK(canonical_path(row.path, PathMode::normalized) == row.normalized);
    }
}

TEST_CASE("queries are sorted after encoding and values may be absent") {
    CHECK(canonical_query({}) == "");
    CHECK(canonical_query({{"uploads", ""}}) == "uploads=");
    CHECK(canonical_query({{"b", "2"}, {"a", "1"}}) == "a=1&b=2");
    CHECK(canonical_query({{"a", "2"}, {"a", "1"}}) == "a=1&a=2");
    CHECK(canonical_query({{"uploadId", "x+y/z=="}}) == "uploadId=x%2By%2Fz%3D%3D");
    CHECK(canonical_query({{"A", "1"}, {"_", "2"}, {"a", "3"}}) == "A=1&_=2&a=3");
    CHECK(canonical_query({{"a-", "1"}, {"a", "2"}}) == "a=2&a-=1"); // by name, not by line
}

TEST_CASE("headers are folded, trimmed, merged and sorted; some are not signed") {
    SigV4Request request{"GET",
                         "/",
                         {},
                         {{"X-Amz-B", "  two   words\t here "},
                          {"x-amz-a", "1"},
                          {"X-AMZ-A", "2"},
                          {"User-Agent", "zl"},
                          {"Expect", "100-continue"},
                          {"Authorization", "none"},
                          {"host", "h"}},
                         "hash"};
    CHECK(canonical_request(request, PathMode::s3) == "GET\n/\n\nhost:h\nx-amz-a:1,2\n"
                                                      "x-amz-b:two words here\n\n"
                                                      "host;x-amz-a;x-amz-b\nhash");
}

TEST_CASE("the cached signing key follows date, region, service and secret") {
    SigningKeyCache cache;
    const std::vector<std::tuple<std::string, std::string, SigningScope>> rows = {
        {"s1", "20260101", {"r1", "s3"}},
        {"s2", "20260101", {"r1", "s3"}},
        {"s2", "20260102", {"r1", "s3"}},
        {"s2", "20260102", {"r2", "s3"}},
        {"s2", "20260102", {"r2", "sts"}}};
    std::vector<std::string> seen;
    for (const auto& [secret, date, scope] : rows) {
        Digest key = derive_signing_key(secret, date, scope);
        CHECK(cache.get(secret, date, scope) == key);
        CHECK(cache.get(secret, date, scope) == key);
        CHECK(std::find(seen.begin(), seen.end(), key.hex()) == seen.end());
        seen.push_back(key.hex());
    }
}

TEST_CASE("AWS's published cases" * doctest::skip(std::getenv("ZL_SIGV4_VECTORS") == nullptr)) {
    // In S3 mode the path stays as it is, so these six sign like their unnormalized twins.
    const std::vector<std::string> shortened = {"get-relative-normalized",
                                                "get-relative-relative-normalized",
                                                "get-slash-normalized",
                                                "get-slash-dot-slash-normalized",
                                                "get-slash-pointless-dot-normalized",
                                                "get-slashes-normalized"};
    int cases = 0;
    std::filesystem::path root = std::getenv("ZL_SIGV4_VECTORS");
    for (const auto& entry : std::filesystem::directory_iterator(root)) {
        if (!entry.is_directory())
            continue;
        ++cases;
        std::string name = entry.path().filename();
        INFO("case: ", name);
        Json context = parse_json(*read_file(entry.path() / "context.json"), name);
        SigV4Request request = read_case(*read_file(entry.path() / "request.txt"));
        std::string time = json_string(context, "timestamp", name);
        request.headers.emplace_back("X-Amz-Date", amz_date(parse_time(time)));
        const Json& keys = context["credentials"];
        if (keys.contains("token") && !context.value("omit_session_token", false))
            request.headers.emplace_back("X-Amz-Security-Token", json_string(keys, "token", name));
        if (context.value("sign_body", false))
            request.headers.emplace_back("x-amz-content-sha256", request.payload_hash);
        auto sign = [&](PathMode mode) {
            return signature(
                request, mode, json_string(keys, "access_key_id", name),
                json_string(keys, "secret_access_key", name), time,
                {json_string(context, "region", name), json_string(context, "service", name)});
        };
        auto expected = [&](const std::filesystem::path& directory) {
            std::string text = *read_file(directory / "header-signature.txt");
            return std::string(trim(text));
        };
        PathMode mode = context["normalize"].get<bool>() ? PathMode::normalized : PathMode::s3;
        if (mode == PathMode::normalized)
            CHECK(canonical_request(request, mode) ==
                  trim(*read_file(entry.path() / "header-canonical-request.txt")));
        CHECK(sign(mode) == expected(entry.path()));
        bool twin = std::find(shortened.begin(), shortened.end(), name) != shortened.end();
        std::string other = name.substr(0, name.rfind("normalized")) + "unnormalized";
        CHECK(sign(PathMode::s3) == expected(twin ? root / other : entry.path()));
    }
    CHECK(cases == 38);
}

TEST_SUITE_END();
