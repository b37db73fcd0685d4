#include "table.hpp"

#include <doctest/doctest.h>

using namespace zl;

TEST_SUITE("tools/table") {
    TEST_CASE("columns are as wide as their widest cell, lines have no blanks at their end") {
        CHECK(aligned({{"NAME", "SIZE", ""}, {"a", "12 MiB", "x"}, {"long-name", "1", ""}}) ==
              std::vector<std::string>{"NAME       SIZE", "a          12 MiB  x", "long-name  1"});
        CHECK(aligned({}).empty());
        CHECK(aligned({{""}}) == std::vector<std::string>{""});
    }

    TEST_CASE("width is counted in characters") {
        CHECK(aligned({{"\u00e4\u00f6", "x"}, {"abc", "y"}}) ==
              std::vector<std::string>{"\u00e4\u00f6   x", "abc  y"});
    }
}
