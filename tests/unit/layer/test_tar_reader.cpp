#include "layer/tar_reader.hpp"

#include "base/error.hpp"
#include "base/file.hpp"
#include "layer/acl_text.hpp"
#include "layer/pax_parse.hpp"
#include "tar_builder.hpp"

#include <doctest/doctest.h>

using namespace zl;
using namespace zl::test;

namespace {

struct Read {
    TarEntry entry;
    std::string content; ///< holes as zeros
};

std::vector<Read> read_all(std::string_view tar, std::size_t step = 1 << 20) {
    SlowSource source(tar, step);
    TarReader reader(source);
    std::vector<Read> all;
    TarEntry entry;
    while (reader.next(entry)) {
        Read r{entry, {}};
        while (const auto piece = reader.read()) {
            REQUIRE(piece->offset >= r.content.size());
            r.content.resize(piece->offset, '\0');
            r.content += as_text(piece->data);
        }
        if (entry.size < 1 << 24)
            r.content.resize(entry.size, '\0');
        all.push_back(std::move(r));
    }
    return all;
}

Read read_one(std::string_view tar) {
    auto all = read_all(tar);
    REQUIRE(all.size() == 1);
    return all[0];
}

/// The message of the Error{data} that reading @p tar ends with; empty if it is accepted.
std::string refusal(std::string_view tar) {
    try {
        read_all(tar);
        return {};
    } catch (const Error& e) {
        CHECK(e.kind() == ErrorKind::data);
        return e.message().empty() ? "?" : e.message();
    }
}

bool contains(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

std::string sparse_tar(std::string_view map, std::string_view data, std::string_view realsize) {
    TarBuilder t;
    t.pax(record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0") +
          record("GNU.sparse.name", "s") + record("GNU.sparse.realsize", realsize));
    return t.file("GNUSparseFile.0/s", pad(std::string(map)) + std::string(data)).end();
}

} // namespace

TEST_SUITE("layer/tar_reader") {

TEST_CASE("reads every entry type with its fields") {
    TarBuilder t;
    t.dir("./", "0001777").dir("d/").file("d/f", "hello", "0004755");
    t.link('1', "d/h", "d/f").link('2', "l", "../../x").device("c", "0000001", "0000003");
    RawHeader fifo;
    fifo.name = "p";
    fifo.type = '6';
    fifo.uid = "0000005";
    fifo.gid = "0000006";
    fifo.mtime = "00000000012";
    const auto all = read_all(t.header(fifo).end());
    REQUIRE(all.size() == 7);
    CHECK(all[0].entry.path == "");
    CHECK(all[0].entry.mode == 01777);
    CHECK(all[1].entry.path == "d");
    CHECK(all[1].entry.type == EntryType::directory);
    CHECK(all[2].entry.mode == 04755);
    CHECK(all[2].content == "hello");
    CHECK(all[3].entry.type == EntryType::hardlink);
    CHECK(all[3].entry.link == "d/f");
    CHECK(all[4].entry.link == "../../x");
    CHECK(all[5].entry.dev_major == 1);
    CHECK(all[5].entry.dev_minor == 3);
    CHECK(all[6].entry.type == EntryType::fifo);
    CHECK(all[6].entry.uid == 5);
    CHECK(all[6].entry.gid == 6);
    CHECK(all[6].entry.mtime == 10);
}

TEST_CASE("reads the same whatever the size of the pieces it gets") {
    TarBuilder t;
    t.dir("./").file("a", std::string(10000, 'a')).file("b", std::string(513, 'b'));
    t.pax(record("path", "long") + record("SCHILY.xattr.user.x", "v"));
    const std::string tar = t.file("c", "c").end();
    const auto whole = read_all(tar);
    for (const std::size_t step : {1U, 7U, 511U, 512U, 4096U}) {
        const auto again = read_all(tar, step);
        REQUIRE(again.size() == whole.size());
        for (std::size_t i = 0; i < whole.size(); ++i)
            CHECK(again[i].content == whole[i].content);
    }
}

TEST_CASE("pieces of content begin on page boundaries") {
    const std::string tar = TarBuilder().file("x", "1").file("a", std::string(3 << 20, 'a')).end();
    for (std::size_t step : {std::size_t{1000}, std::size_t{70000}, std::size_t{1} << 20}) {
        SlowSource source(tar, step);
        TarReader reader(source);
        TarEntry entry;
        CHECK(reader.next(entry));
        CHECK(reader.next(entry));
        std::uint64_t end = 0;
        while (const auto piece = reader.read()) {
            CHECK(piece->offset == end);
            CHECK(piece->offset % 4096 == 0);
            end += piece->data.size();
        }
        CHECK(end == 3 << 20);
    }
}

TEST_CASE("skips content that nobody read") {
    const std::string tar = TarBuilder().file("a", std::string(5000, 'a')).file("b").end();
    MemorySource source(as_bytes(tar));
    TarReader reader(source);
    TarEntry entry;
    CHECK(reader.next(entry));
    CHECK(reader.next(entry));
    CHECK(entry.path == "b");
    CHECK_FALSE(reader.next(entry));
    CHECK_FALSE(reader.next(entry));
}

TEST_CASE("pax records beat the header: path, linkpath, size, ids, time") {
    TarBuilder t;
    t.pax(record("path", "p/\xff\n=x") + record("size", "3") + record("uid", "3000000000") +
          record("gid", "4294967294") + record("mtime", "-1.5") + record("comment", "hi"));
    const Read r = read_one(t.file("f", "abc").end());
    CHECK(r.entry.path == "p/\xff\n=x");
    CHECK(r.entry.uid == 3000000000U);
    CHECK(r.entry.gid == 4294967294U);
    CHECK(r.entry.mtime == -2);
    CHECK(r.entry.mtime_ns == 500000000);
    CHECK(r.entry.comment == "hi");
    CHECK(r.content == "abc");
}

TEST_CASE("a pax size that contradicts the header is refused (CVE-2025-62518)") {
    RawHeader smuggled;
    smuggled.name = "smuggled";
    for (const char* size : {"0", "512", "1024"}) {
        TarBuilder t;
        t.pax(record("size", size));
        t.file("f", smuggled.block()); // of 512 bytes
        CHECK((refusal(t.file("next").end()) == "") == (std::string(size) == "512"));
    }
    // Above 8 GiB only pax can say it; the header holds whatever it holds.
    RawHeader big;
    big.size = (std::uint64_t{1} << 33) - 1;
    const std::string tar = TarBuilder().pax(record("size", "10000000000")).header(big).text;
    MemorySource source(as_bytes(tar));
    TarReader reader(source);
    TarEntry entry;
    CHECK(reader.next(entry));
    CHECK(entry.size == 10000000000U);
}

TEST_CASE("xattr names lose GNU tar's escapes, values are raw") {
    TarBuilder t;
    t.pax(record("SCHILY.xattr.user.a%3Db", "1") + record("SCHILY.xattr.user.p%2541", "2") +
          record("SCHILY.xattr.user.q%41", "3") + record("SCHILY.xattr.user.bin", "a\n=\xff") +
          record("SCHILY.xattr.user.empty", ""));
    const auto x = read_one(t.file("f").end()).entry.xattrs;
    REQUIRE(x.size() == 5);
    CHECK(x[0] == Xattr{"user.a=b", "1"});
    CHECK(x[1] == Xattr{"user.p%41", "2"});
    CHECK(x[2] == Xattr{"user.q%41", "3"}); // %41 is no escape
    CHECK(x[3] == Xattr{"user.bin", "a\n=\xff"});
    CHECK(x[4] == Xattr{"user.empty", ""});
    CHECK(contains(refusal(TarBuilder()
                               .pax(record("SCHILY.xattr.user.a%3D", "1") +
                                    record("SCHILY.xattr.user.a%253D", "1") +
                                    record("SCHILY.xattr.user.a%25", "1") +
                                    record("SCHILY.xattr.user.a%", "1"))
                               .file("f")
                               .end()),
                   "twice"));
}

TEST_CASE("GNU long names and base-256 numbers") {
    const std::string name(300, 'n');
    TarBuilder t;
    RawHeader l;
    l.name = "././@LongLink";
    l.type = 'L';
    l.magic = std::string("ustar  \0", 8);
    l.size = name.size() + 1;
    RawHeader f;
    f.magic = l.magic;
    f.mtime = std::string("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", 12);
    f.uid = std::string("\x80\0\0\0\x80\0\0\0", 8);
    // 300 bytes in one component are too many: as two directories.
    const std::string path = std::string(200, 'd') + "/" + std::string(99, 'n');
    t.header(l).raw(pad(path + '\0')).header(f);
    const Read r = read_one(t.end());
    CHECK(r.entry.path == path);
    CHECK(r.entry.mtime == -2);
    CHECK(r.entry.uid == 0x80000000U);
}

TEST_CASE("ustar prefix and name are joined") {
    RawHeader h;
    h.name = "name";
    h.prefix = "pre/fix";
    CHECK(read_one(TarBuilder().header(h).end()).entry.path == "pre/fix/name");
}

TEST_CASE("a name of exactly 100 bytes has no NUL") {
    RawHeader h;
    h.name = std::string(100, 'a');
    CHECK(read_one(TarBuilder().header(h).end()).entry.path == h.name);
}

TEST_CASE("GNU sparse 1.0: holes read as zeros") {
    const std::string page(4096, 'x');
    const Read r =
        read_one(sparse_tar("2\n4096\n4096\n12288\n10\n", page + "0123456789", "20000"));
    CHECK(r.entry.path == "s");
    CHECK(r.entry.size == 20000);
    std::string wanted(20000, '\0');
    wanted.replace(4096, 4096, page);
    wanted.replace(12288, 10, "0123456789");
    CHECK(r.content == wanted);
    CHECK(read_one(sparse_tar("0\n", "", "1000000")).entry.size == 1000000);
    CHECK(read_one(sparse_tar("1\n70\n0\n", "", "70")).content == std::string(70, '\0'));
}

TEST_CASE("refuses sparse maps that lie") {
    const std::string data(10, 'd');
    for (const char* map : {"1\n0\n11\n", "1\n0\n9\n", "2\n0\n5\n4\n5\n", "2\n10\n5\n0\n5\n",
                            "1\n95\n10\n", "1\n18446744073709551615\n10\n", "2\n0\n10\n", "x\n",
                            "1\n-1\n10\n", "1\n0\n10", "99999999999\n", ""}) {
        CAPTURE(map);
        CHECK(refusal(sparse_tar(map, data, "100")) != "");
    }
    CHECK(refusal(sparse_tar("1\n0\n10\n", data, "100")) == "");
    CHECK(refusal(sparse_tar("1\n0\n10\n", data, "9")) != "");
    const auto with = [&](const std::string& records) {
        return refusal(TarBuilder().pax(records).file("f", "x").end());
    };
    CHECK(contains(with(record("GNU.sparse.major", "1")), "sparse"));
    CHECK(contains(with(record("GNU.sparse.map", "0,1")), "sparse"));
    CHECK(contains(with(record("GNU.sparse.size", "7")), "sparse"));
}

TEST_CASE("ACL text is used only without the raw xattr") {
    const std::string text = "user::rw-\nuser:1234:rw-\ngroup::r--\nmask::rw-\nother::r--\n";
    const auto acl = read_one(TarBuilder().pax(record("SCHILY.acl.access", text)).file("f").end());
    REQUIRE(acl.entry.xattrs.size() == 1);
    CHECK(acl.entry.xattrs[0].name == kAclAccess);
    CHECK(acl.entry.xattrs[0].value.size() == 4 + 5 * 8);
    const auto both = read_one(TarBuilder()
                                   .pax(record("SCHILY.acl.access", text) +
                                        record("SCHILY.xattr.system.posix_acl_access", "raw"))
                                   .file("f")
                                   .end());
    REQUIRE(both.entry.xattrs.size() == 1);
    CHECK(both.entry.xattrs[0].value == "raw");
}

TEST_CASE("ACL text: numbers, star's fourth field, unknown names") {
    using std::string_literals::operator""s;
    CHECK(parse_acl_text("user::rwx,other::r-x # effective\n").xattr ==
          "\2\0\0\0"s "\1\0\7\0\377\377\377\377"s " \0\5\0\377\377\377\377"s);
    CHECK(parse_acl_text("user:4000000000:--x").xattr ==
          "\2\0\0\0"s "\2\0\1\0\0\x28\x6b\xee"s);
    CHECK(parse_acl_text("user:joe:--x:4000000000").xattr ==
          parse_acl_text("u:4000000000:x").xattr);
    CHECK(parse_acl_text("group:staff:rw-").lost.size() == 1);
    CHECK(parse_acl_text("group:staff:rw-").xattr.empty());
    for (const char* bad : {"user", "user:1:rwz", "user:1:rwxr", "mask:1:r", "x::r", "user:1:r:2:3",
                            "user:4294967295:r"})
        CHECK_THROWS_AS(parse_acl_text(bad), Error);
}

TEST_CASE("refuses names that lead out or are not names") {
    const std::string long_component(256, 'x');
    for (const std::string& name :
         {std::string("/abs"), std::string("../x"), std::string("a/../b"), std::string("a/.."),
          std::string(".."), std::string("a//b"), std::string("a/./b"), std::string("./."),
          std::string("a/."), std::string(".//a"), std::string("a//"), long_component,
          std::string("a\0b", 3), std::string("././a"), std::string("")}) {
        CAPTURE(show_path(name));
        CHECK(refusal(TarBuilder().pax(record("path", name)).file("f").end()) != "");
        CHECK(refusal(TarBuilder().pax(record("linkpath", name)).link('1', "f", "x").end()) != "");
    }
    for (const char* name : {"a", "./a", "a.", "..a", "...", ".wh.a", "a/b/c"})
        CHECK(refusal(TarBuilder().file(name).end()) == "");
    CHECK(refusal(TarBuilder().pax(record("path", std::string(70000, 'a'))).file("f").end()) != "");
    CHECK(contains(refusal(TarBuilder().file("a/").end()), "not a directory"));
    CHECK(contains(refusal(TarBuilder().link('2', ".", "/etc").end()), "root"));
    CHECK(contains(refusal(TarBuilder().link('1', "a", "a").end()), "itself"));
    CHECK(contains(refusal(TarBuilder().link('2', "a", "").end()), "nothing"));
}

TEST_CASE("refuses malformed headers") {
    const auto with = [](auto change) {
        RawHeader h;
        change(h);
        return refusal(TarBuilder().header(h).end());
    };
    CHECK(with([](RawHeader&) {}) == "");
    CHECK(contains(with([](RawHeader& h) { h.good_checksum = false; }), "checksum"));
    CHECK(contains(with([](RawHeader& h) { h.magic = "12345678"; }), "magic"));
    CHECK(contains(with([](RawHeader& h) { h.magic = std::string(8, '\0'); }), "magic"));
    for (const char type : std::string("\0" "7SVDMNXAZ89a", 12)) {
        CAPTURE(type);
        CHECK(contains(with([&](RawHeader& h) { h.type = type; }), "type"));
    }
    CHECK(contains(with([](RawHeader& h) { h.mode = "0010000"; }), "mode"));
    CHECK(contains(with([](RawHeader& h) { h.mode = "00x0000"; }), "mode"));
    CHECK(contains(with([](RawHeader& h) { h.uid = std::string("\x80\0\0\0\xff\xff\xff\xff", 8); }),
                   "uid"));
    CHECK(contains(with([](RawHeader& h) { h.gid = std::string("\xff\xff\xff\xff\xff\xff\xff\xfe"); }),
                   "gid"));
    for (char type : {'1', '2', '3', '4', '5', '6'}) {
        CAPTURE(type);
        CHECK(contains(with([&](RawHeader& h) {
                           h.type = type;
                           h.link = "x";
                           h.size = 1;
                       }),
                       "content"));
    }
    const auto device = [&](const std::string& major, const std::string& minor) {
        return refusal(TarBuilder().device("c", major, minor).end());
    };
    CHECK(device("0007777", "3777777") == "");
    CHECK(contains(device("0010000", "0000000"), "major"));
    CHECK(contains(device("0000000", "4000000"), "minor"));
    CHECK(contains(device(std::string("\x80\0\0\1\0\0\0\1", 8), "0000000"), "major"));
}

TEST_CASE("refuses malformed pax headers") {
    const auto with = [](const std::string& records) {
        return refusal(TarBuilder().pax(records).file("f").end());
    };
    CHECK(with("") == "");
    CHECK(with(record("VENDOR.unknown", "x")) == "");
    for (const char* bad :
         {"x", "5", "5 a=b", "6 a=b", "7 a=b\n", "06 a=b\n", "+6 a=b\n", "-6 a=b\n", " 6 a=b\n",
          "6  a=b\n", "5 ab\n", "5 =b\n", "0 a=b\n", "99999999999999999999 a=b\n", "6 a=b\n6 a=c\n",
          "6 a=b\n\n", "4 =\n"}) {
        CAPTURE(bad);
        CHECK(with(bad) != "");
    }
    for (const char* key : {"size", "uid", "gid", "mtime"})
        for (const char* bad : {"", "x", "-", "1x", " 1", "+1", "0x1", "99999999999999999999999"}) {
            CAPTURE(key);
            CAPTURE(bad);
            CHECK(with(record(key, bad)) != "");
        }
    CHECK(with(record("uid", "4294967295")) != "");
    CHECK(with(record("gid", "4294967295")) != "");
    CHECK(with(record("uid", "-1")) != "");
    CHECK(with(record("mtime", "1.")) == "");
    CHECK(with(record("mtime", "1.5x")) != "");
    CHECK(with(record("SCHILY.xattr.", "x")) != "");
    CHECK(with(record("SCHILY.xattr." + std::string(256, 'n'), "x")) != "");
    CHECK(with(record("SCHILY.xattr.user.x", std::string(65536, 'v'))) == "");
    CHECK(with(record("SCHILY.xattr.user.x", std::string(65537, 'v'))) != "");
    CHECK(with(record("comment", std::string(5 << 20, 'v'))) != "");
}

TEST_CASE("refuses misplaced extended headers") {
    CHECK(contains(refusal(TarBuilder().pax(record("path", "a")).end()), "without its entry"));
    CHECK(contains(refusal(TarBuilder().pax("").pax("").file("f").end()), "two extended"));
    CHECK(refusal(TarBuilder().pax(record("comment", "x"), 'g').file("f").end()) == "");
    CHECK(contains(refusal(TarBuilder().pax(record("path", "x"), 'g').file("f").end()), "global"));
    CHECK(contains(refusal(TarBuilder().pax(record("size", "0"), 'g').file("f").end()), "global"));
}

TEST_CASE("demands exactly two zero blocks and nothing after them") {
    const std::string body = TarBuilder().file("f", "x").text;
    const std::string zeros(512, '\0');
    CHECK(refusal(body + zeros + zeros) == "");
    CHECK(contains(refusal(body), "truncated"));
    CHECK(refusal(body + zeros) != "");
    CHECK(refusal(body + zeros + body) != "");
    CHECK(contains(refusal(body + zeros + zeros + zeros), "after its end"));
    CHECK(contains(refusal(body + zeros + zeros + "x"), "after its end"));
    CHECK(refusal("") != "");
    CHECK(refusal(zeros + zeros) == "");
}

TEST_CASE("refuses padding that is not zero") {
    std::string tar = TarBuilder().file("f", "x").end();
    tar[512 + 1] = 'y';
    CHECK(contains(refusal(tar), "padding"));
}

TEST_CASE("refuses a tar cut at any length") {
    TarBuilder t;
    t.dir("./").pax(record("path", "long") + record("SCHILY.xattr.user.x", "v"));
    t.file("c", std::string(700, 'c')).link('2', "l", "c");
    const std::string tar =
        t.raw(sparse_tar("1\n4096\n10\n", "0123456789", "20000")).text;
    REQUIRE(refusal(tar) == "");
    for (std::size_t n = 0; n < tar.size(); ++n) {
        CAPTURE(n);
        CHECK(refusal(std::string_view(tar).substr(0, n)) != "");
    }
}

TEST_CASE("a flipped bit never crashes the reader") {
    TarBuilder t;
    t.dir("./").pax(record("path", "long") + record("mtime", "1.5")).file("c", "content");
    const std::string tar = t.raw(sparse_tar("1\n4096\n10\n", "0123456789", "20000")).text;
    std::size_t refused = 0;
    for (std::size_t i = 0; i < tar.size(); ++i) {
        std::string bad = tar;
        bad[i] = static_cast<char>(bad[i] ^ static_cast<char>(1 << i % 8));
        if (refusal(bad) != "")
            ++refused;
    }
    CHECK(refused > tar.size() / 2); // what is left is in content and in extended headers' values
}

TEST_CASE("pax times") {
    CHECK(parse_pax_time("-0.000000001").seconds == -1);
    CHECK(parse_pax_time("-0.000000001").nanoseconds == 999999999);
    CHECK(parse_pax_time("1.0000000019").nanoseconds == 1);
    CHECK(parse_pax_time("10000000000.5").seconds == 10000000000);
    CHECK_THROWS_AS(parse_pax_time("1..5"), Error);
    CHECK_THROWS_AS(parse_pax_time("--1"), Error);
    CHECK_THROWS_AS(parse_pax_time("1.-5"), Error);
}

TEST_CASE("paths in messages cannot drive a terminal") {
    CHECK(show_path("a\x1b[2Jb\n\xff") == "a\\x1b[2Jb\\x0a\\xff");
    CHECK(show_path("\xc3\xbc \xe2\x82\xac") == "\xc3\xbc \xe2\x82\xac");
    CHECK(show_path("\xc2\x9b") == "\\xc2\\x9b");
    CHECK(show_path("a\\x1b") == "a\\x5cx1b");
    CHECK(show_path(std::string(1000, 'a')).size() < 250);
}

} // TEST_SUITE
