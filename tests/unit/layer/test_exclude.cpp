#include "base/error.hpp"
#include "layer/exclude.hpp"

#include <doctest/doctest.h>

using namespace zl;

namespace {

bool excluded(const std::string& pattern, std::string_view path, bool is_directory = false) {
    return Excludes({pattern}).matches(path, is_directory);
}

} // namespace

TEST_SUITE("layer/exclude") {

    TEST_CASE("a pattern without slash matches a name at any depth") {
        CHECK(excluded("*.tmp", "a.tmp"));
        CHECK(excluded("*.tmp", "x/y/a.tmp"));
        CHECK(!excluded("*.tmp", "a.tmp/b"));
        CHECK(!excluded("*.tmp", "a.tmpx"));
        CHECK(excluded("a", "b/a"));
        CHECK(!excluded("a", "b/aa"));
    }

    TEST_CASE("a pattern with a slash matches the whole path") {
        CHECK(excluded("/var/cache", "var/cache"));
        CHECK(excluded("var/cache", "var/cache"));
        CHECK(!excluded("var/cache", "x/var/cache"));
        CHECK(!excluded("var/cache", "var/cache/x"));
        CHECK(excluded("/a", "a"));
        CHECK(!excluded("/a", "b/a"));
    }

    TEST_CASE("a star stops at a slash, two do not") {
        CHECK(excluded("a/*/c", "a/b/c"));
        CHECK(!excluded("a/*/c", "a/b/b/c"));
        CHECK(excluded("a/**/c", "a/b/b/c"));
        CHECK(excluded("a/**/c", "a/c"));
        CHECK(!excluded("a/**/c", "ac"));
        CHECK(excluded("a/**", "a/b"));
        CHECK(excluded("a/**", "a/b/c"));
        CHECK(!excluded("a/**", "a"));
        CHECK(excluded("**/c", "c"));
        CHECK(excluded("**/c", "a/b/c"));
        CHECK(!excluded("**/c", "a/bc"));
        CHECK(excluded("**/x*z/**", "a/b/xyz/c"));
        CHECK(excluded("a/*b*c", "a/xbxbxc"));
        CHECK(excluded("/**/a/*.o", "q/a/b/a/f.o"));
    }

    TEST_CASE("a slash at the end means directories") {
        CHECK(excluded("cache/", "x/cache", true));
        CHECK(!excluded("cache/", "x/cache", false));
        CHECK(excluded("/x/cache/", "x/cache", true));
        CHECK(!excluded("/x/cache/", "y/x/cache", true));
    }

    TEST_CASE("question marks, sets and escapes") {
        CHECK(excluded("a?c", "abc"));
        CHECK(!excluded("x/a?c", "x/a/c"));
        CHECK(excluded("[a-c]x", "bx"));
        CHECK(!excluded("[!a-c]x", "bx"));
        CHECK(excluded("[]-]x", "]x"));
        CHECK(excluded("[]-]x", "-x"));
        CHECK(!excluded("x[!y]z", "x/z"));
        CHECK(excluded("\\*", "*"));
        CHECK(!excluded("\\*", "a"));
        CHECK(excluded("[\\]]", "]"));
        CHECK(excluded("[\x80-\xff]", "\xe9"));
    }

    TEST_CASE("malformed patterns are refused") {
        for (const char* bad : {"", "/", "[abc", "abc\\", "a[\\]"}) {
            CAPTURE(bad);
            CHECK_THROWS_AS(Excludes({bad}), Error);
        }
    }

} // suite
