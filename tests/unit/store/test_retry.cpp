#include "store/retry.hpp"

#include <doctest/doctest.h>

using namespace zl;

TEST_SUITE_BEGIN("store/retry");

TEST_CASE("outcomes are classified") {
    struct Row {
        Transport transport;
        int status;
        const char* code;
        Verdict verdict;
        ErrorKind kind; ///< when it is not retried any more
        bool ambiguous; ///< may have been carried out
    };
    using T = Transport;
    using V = Verdict;
    using K = ErrorKind;
    const Row rows[] = {
        // Below HTTP
        {T::resolve, 0, "", V::retry, K::transient, false},
        {T::connect, 0, "", V::retry, K::transient, false},
        {T::stalled, 0, "", V::retry, K::transient, true},
        {T::broken, 0, "", V::retry, K::transient, true},
        {T::broken, 200, "", V::retry, K::transient, true},
        {T::bad_reply, 0, "", V::retry, K::transient, true},
        {T::untrusted, 0, "", V::fail, K::config, false},
        {T::bad_url, 0, "", V::fail, K::config, false},
        {T::deadline, 0, "", V::fail, K::transient, true},
        // Throttling and server errors
        {T::ok, 503, "SlowDown", V::retry, K::transient, false},
        {T::ok, 503, "SlowDownWrite", V::retry, K::transient, false},
        {T::ok, 503, "ServiceUnavailable", V::retry, K::transient, true},
        {T::ok, 503, "", V::retry, K::transient, true},
        {T::ok, 500, "InternalError", V::retry, K::transient, true},
        {T::ok, 502, "", V::retry, K::transient, true},
        {T::ok, 504, "", V::retry, K::transient, true},
        {T::ok, 429, "", V::retry, K::transient, false},
        {T::ok, 499, "", V::retry, K::transient, false},
        {T::ok, 520, "", V::retry, K::transient, true},
        {T::ok, 408, "", V::retry, K::transient, false},
        {T::ok, 400, "RequestTimeout", V::retry, K::transient, false},
        {T::ok, 400, "IncompleteBody", V::retry, K::transient, false},
        {T::ok, 400, "BadDigest", V::retry, K::transient, false},
        {T::ok, 400, "XAmzContentSHA256Mismatch", V::retry, K::transient, false},
        {T::ok, 409, "OperationAborted", V::retry, K::transient, false},
        {T::ok, 409, "ConditionalRequestConflict", V::retry, K::conflict, false},
        // Errors inside a 200
        {T::ok, 200, "", V::ok, K::data, false},
        {T::ok, 204, "", V::ok, K::data, false},
        {T::ok, 206, "", V::ok, K::data, false},
        {T::ok, 200, "InternalError", V::retry, K::transient, false},
        {T::ok, 200, "SlowDown", V::retry, K::transient, false},
        {T::ok, 200, "AccessDenied", V::fail, K::denied, false},
        {T::ok, 200, "InvalidPart", V::fail, K::data, false},
        // Once each
        {T::ok, 403, "RequestTimeTooSkewed", V::clock, K::denied, false},
        {T::ok, 400, "ExpiredToken", V::refresh, K::denied, false},
        {T::ok, 403, "ExpiredToken", V::refresh, K::denied, false},
        {T::ok, 301, "PermanentRedirect", V::region, K::config, false},
        {T::ok, 301, "", V::region, K::config, false},
        {T::ok, 307, "TemporaryRedirect", V::region, K::config, false},
        {T::ok, 400, "AuthorizationHeaderMalformed", V::region, K::config, false},
        // Final
        {T::ok, 403, "AccessDenied", V::fail, K::denied, false},
        {T::ok, 403, "SignatureDoesNotMatch", V::fail, K::denied, false},
        {T::ok, 403, "InvalidAccessKeyId", V::fail, K::denied, false},
        {T::ok, 403, "", V::fail, K::denied, false},
        {T::ok, 401, "", V::fail, K::denied, false},
        {T::ok, 400, "InvalidToken", V::fail, K::denied, false},
        {T::ok, 404, "NoSuchKey", V::fail, K::not_found, false},
        {T::ok, 404, "NoSuchBucket", V::fail, K::not_found, false},
        {T::ok, 404, "NoSuchUpload", V::fail, K::gone, false},
        {T::ok, 404, "", V::fail, K::not_found, false},
        {T::ok, 412, "PreconditionFailed", V::fail, K::conflict, false},
        {T::ok, 412, "", V::fail, K::conflict, false},
        {T::ok, 416, "InvalidRange", V::fail, K::data, false},
        {T::ok, 501, "NotImplemented", V::fail, K::unsupported, true},
        {T::ok, 405, "MethodNotAllowed", V::fail, K::unsupported, false},
        {T::ok, 400, "InvalidPart", V::fail, K::data, false},
        {T::ok, 400, "EntityTooSmall", V::fail, K::data, false},
        {T::ok, 400, "InvalidStorageClass", V::fail, K::config, false},
        {T::ok, 400, "InvalidBucketName", V::fail, K::config, false},
    };
    for (const Row& row : rows) {
        INFO("transport ", static_cast<int>(row.transport), " status ", row.status, " code ",
             row.code);
        Outcome outcome{row.transport, row.status, row.code};
        CHECK(static_cast<int>(classify(outcome)) == static_cast<int>(row.verdict));
        if (row.verdict != V::ok) {
            CHECK(static_cast<int>(error_kind(outcome)) == static_cast<int>(row.kind));
            CHECK(may_have_happened(outcome) == row.ambiguous);
        }
    }
}

TEST_CASE("delays grow from 100 ms to 20 s and are jittered by half") {
    constexpr Millis kAll{std::chrono::hours(1)};
    auto delay = [&](int attempt, double random) {
        return retry_delay(attempt, Millis(0), kAll, std::nullopt, random)->count();
    };
    CHECK(delay(0, 0) == 50);
    CHECK(delay(0, 0.999) >= 99);
    CHECK(delay(1, 1) == 200);
    CHECK(delay(4, 1) == 1600);
    CHECK(delay(7, 1) == 12800);
    CHECK(delay(8, 1) == 20000);
    CHECK(delay(8, 0) == 10000);
    CHECK(delay(1000000, 1) == 20000);
    for (int attempt = 0; attempt < 100; ++attempt)
        CHECK(delay(attempt, 0.5) <= 20000);
}

TEST_CASE("the budget ends the retries") {
    constexpr Millis kBudget{10000};
    CHECK(!retry_delay(0, Millis(10000), kBudget, std::nullopt, 0.5).has_value());
    CHECK(!retry_delay(0, Millis(0), Millis(0), std::nullopt, 0.5).has_value());
    // One last attempt at its very end
    CHECK(*retry_delay(9, Millis(9990), kBudget, std::nullopt, 1) == Millis(10));
    // Not before the server wants it; and not at all if that is too late
    CHECK(*retry_delay(0, Millis(0), kBudget, Millis(7000), 0) == Millis(7000));
    CHECK(*retry_delay(9, Millis(0), kBudget, Millis(1), 1) == kBudget);
    CHECK(!retry_delay(0, Millis(4000), kBudget, Millis(7000), 0).has_value());
}

TEST_CASE("Retry-After is seconds or a date") {
    TimePoint now = parse_time("2026-11-22T06:00:00Z");
    CHECK(parse_retry_after("3", now) == Millis(3000));
    CHECK(parse_retry_after(" 120 ", now) == Millis(120000));
    CHECK(parse_retry_after("Sun, 22 Nov 2026 06:00:05 GMT", now) == Millis(5000));
    CHECK(parse_retry_after("Sun, 22 Nov 2026 05:00:00 GMT", now) == Millis(0));
    CHECK(!parse_retry_after("", now).has_value());
    CHECK(!parse_retry_after("soon", now).has_value());
    CHECK(!parse_retry_after("-1", now).has_value());
    CHECK(!parse_retry_after("99999999999999999999", now).has_value());
}

TEST_SUITE_END();
