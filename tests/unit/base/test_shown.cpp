#include "base/shown.hpp"

#include <doctest/doctest.h>

using namespace zl;

TEST_SUITE("base/shown") {
    TEST_CASE("what is shown has no control characters, and can be read back") {
        CHECK(shown("a\tb\x1b[31m\x7f\\") == "a\\x09b\\x1b[31m\\x7f\\x5c");
        CHECK(shown("\xc2\x9b") == "\\xc2\\x9b"); // a control character too
        CHECK(shown("\u00e4\u20ac\U0001f600") == "\u00e4\u20ac\U0001f600");
        CHECK(shown("abcdef", 3) == "abc...");
    }

    TEST_CASE("only valid UTF-8 is shown, and none that turns its direction") {
        for (const char* bytes : {
                 "\xff", "\x80", "\xc3", "\xe2\x82", "\xf0\x9f\x98", "\xf5\x80\x80\x80",
                 "\xc1\x9b", "\xe0\x82\x9b", "\xf0\x80\x82\x9b",  // overlong: 0x5b, 0x9b, 0x9b
                 "\xed\xa0\x80", "\xf4\x90\x80\x80",              // a surrogate; above 0x10ffff
                 "\u202a", "\u202e", "\u2066", "\u2069",
             }) {
            CAPTURE(shown(bytes));
            CHECK(shown(bytes).size() == 4 * std::string_view(bytes).size());
            CHECK(printable(bytes) == shown(bytes));
        }
        CHECK(shown("\u2029\u202f\u2065\u206a\ud7ff\ue000\U00010000\U0010ffff") ==
              "\u2029\u202f\u2065\u206a\ud7ff\ue000\U00010000\U0010ffff");
    }

    TEST_CASE("a message keeps backslashes, and newlines on demand") {
        CHECK(printable("a\\x1b\nb\x7f\r") == "a\\x1b\\x0ab\\x7f\\x0d");
        CHECK(printable("a\nb\x7f", true) == "a\nb\\x7f");
        CHECK(printable("gr\xc3\xbc\xc3\x9f") == "gr\xc3\xbc\xc3\x9f");
    }
}
