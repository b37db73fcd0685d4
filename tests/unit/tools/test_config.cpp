#include "base/error.hpp"
#include "config.hpp"

#include <doctest/doctest.h>

using namespace zl;

namespace {

const std::vector<std::string> kOwn{"name", "jobs", "store", "tag"};

Config read(std::string_view text) {
    Config config;
    merge_config(config, text, "zl.conf", "zl-push", kOwn);
    return config;
}

std::string failure(std::string_view text) {
    try {
        read(text);
    } catch (const Error& e) {
        CHECK(e.kind() == ErrorKind::config);
        return e.message() + "|" + e.hint();
    }
    return {};
}

} // namespace

TEST_SUITE("tools/config") {
    TEST_CASE("blanks, comments, quotes, dash or underscore, CRLF, no final line feed") {
        Config c = read("# comment\n\n  name=web1\r\n part_size = 1 # comment\n"
                        "store = s3://b/x#y\nmetrics = \" a # b \" # c\n\ttag = 'k=\"v\"'\njobs =");
        CHECK(c["name"].at(0).text == "web1");
        CHECK(c["name"].at(0).where == "zl.conf:3");
        CHECK(c["part-size"].at(0).text == "1");
        CHECK(c["store"].at(0).text == "s3://b/x#y");
        CHECK(c["metrics"].at(0).text == " a # b ");
        CHECK(c["tag"].at(0).text == "k=\"v\"");
        CHECK(c["jobs"].at(0).text == "");
    }

    TEST_CASE("only the own section counts, over the general part, wherever it stands") {
        Config c = read("[zl-pull]\njobs = 1\n[zl-push] # here\njobs = 2\ntag = a=1\n[zl-pack]\n"
                        "level = 9\n");
        CHECK(c["jobs"].size() == 1);
        CHECK(c["jobs"].at(0).text == "2");
        CHECK(c.count("level") == 0);
        c = read("tag = a=1\ntag = b=2\n[zl-push]\ntag = c=3\n");
        REQUIRE(c["tag"].size() == 1);
        CHECK(c["tag"].at(0).text == "c=3");
    }

    TEST_CASE("a later file replaces the values of a key") {
        Config c = read("tag = a=1\ntag = b=2\nname = x\n");
        merge_config(c, "tag = c=3\n", "other.conf", "zl-push", kOwn);
        CHECK(c["tag"].size() == 1);
        CHECK(c["name"].at(0).text == "x");
    }

    TEST_CASE("keys of the siblings are known, others are errors with the nearest one") {
        CHECK(failure("level = 3\nthreads = 2\n") == "");
        CHECK(failure("\nnmae = x\n") == "zl.conf:2: unknown key `nmae`|did you mean `name`?");
        CHECK(failure("[zl-push]\nlevel = 3\n")
                  .starts_with("zl.conf:2: unknown key `level` for zl-push"));
        CHECK(failure("[zl-pull]\nnonsense = 3\n").starts_with("zl.conf:2: unknown key"));
        CHECK(failure("[zl-pusch]\n") ==
              "zl.conf:1: unknown section [zl-pusch]|did you mean [zl-push]?");
    }

    TEST_CASE("bad lines") {
        for (const char* text : {"name\n", "[zl-push\n", "[zl-push] x\n", "name = \"a\n",
                                 "name = \"a\" b\n", "= x\n"}) {
            CAPTURE(text);
            CHECK(failure(text).starts_with("zl.conf:1: "));
        }
    }

    TEST_CASE("secrets are refused and not repeated") {
        for (const char* key : {"aws_secret_access_key", "secret", "password", "AWS_SESSION_TOKEN",
                                "aws-access-key-id", "credentials"}) {
            CAPTURE(key);
            std::string error = failure(std::string(key) + " = hunter2\n");
            CHECK(error.find("AWS_*") != std::string::npos);
            CHECK(error.find("hunter2") == std::string::npos);
        }
    }

    TEST_CASE("names of environment variables") {
        CHECK(environment_name("part-size") == "ZL_PART_SIZE");
    }
}
