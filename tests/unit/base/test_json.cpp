#include "base/error.hpp"
#include "base/json.hpp"

#include <doctest/doctest.h>

using namespace zl;

TEST_SUITE("base/json") {
    TEST_CASE("fields keep their order, and bytes that are no UTF-8 do not throw") {
        Json j;
        j["zebra"] = 1;
        j["apple"] = "a\xff";
        CHECK(dump_json(j) == "{\"zebra\":1,\"apple\":\"a\xef\xbf\xbd\"}");
    }

    TEST_CASE("what is not JSON is a data error that names the document") {
        for (const char* text : {"", "{", "{\"a\":}", "nul", "{} x", "\"\xff\""}) {
            CAPTURE(text);
            try {
                parse_json(text, "meta.json");
                FAIL("no error");
            } catch (const Error& e) {
                CHECK(e.kind() == ErrorKind::data);
                CHECK(e.message().starts_with("meta.json: not valid JSON"));
            }
        }
    }

    TEST_CASE("nesting is limited") {
        CHECK_NOTHROW(parse_json(std::string(60, '[') + std::string(60, ']'), "x"));
        CHECK_THROWS_AS(parse_json(std::string(100'000, '['), "x"), Error);
        CHECK_THROWS_AS(parse_json(std::string(1000, '[') + std::string(1000, ']'), "x"), Error);
    }

    TEST_CASE("typed fields: missing, of another type, negative, too large") {
        Json j =
            parse_json("{\"s\":\"text\",\"n\":18446744073709551615,\"neg\":-1,\"f\":1.5}", "x");
        CHECK(json_string(j, "s", "x") == "text");
        CHECK(json_uint(j, "n", "x") == ~std::uint64_t{0});
        for (const char* field : {"s", "neg", "f", "none"}) {
            CAPTURE(field);
            CHECK_THROWS_AS(json_uint(j, field, "x"), Error);
        }
        CHECK_THROWS_AS(json_string(j, "n", "x"), Error);
        CHECK_THROWS_AS(json_string(Json::array(), "s", "x"), Error);
        CHECK_THROWS_AS(json_uint(Json("text"), "s", "x"), Error);
    }
}
