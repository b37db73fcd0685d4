#include "../temp_dir.hpp"
#include "base/error.hpp"
#include "layer/pack.hpp"
#include "layer/pack_notes.hpp"
#include "layer/toc.hpp"
#include "stream/zstd_stream.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

using namespace zl;
namespace fs = std::filesystem;

namespace {

class Tree {
public:
    void file(const std::string& path, const std::string& content = "x") const {
        std::ofstream(root / path, std::ios::binary) << content;
    }
    void dir(const std::string& path) const { fs::create_directories(root / path); }
    /// False: not permitted here (trusted.* without privileges).
    bool xattr(const std::string& path, const char* name, const std::string& value) const {
        return setxattr((root / path).c_str(), name, value.data(), value.size(), 0) == 0;
    }
    test::TempDir dir_;
    fs::path root = dir_.path();
};

struct Packed {
    Trailer trailer;
    std::string tar, stream;
    /// path -> typeflag, in tar order; extended headers are looked into for nothing but sizes.
    std::vector<std::string> entries;
};

Packed pack(const fs::path& dir, PackOptions options = {}) {
    options.dir = dir;
    MemorySink out;
    NullLog log;
    NullProgress progress;
    Packed p;
    p.trailer = pack_directory(options, out, log, progress, {});
    p.stream = out.text;
    MemorySink tar;
    StreamDecompressor unzstd;
    unzstd.write(as_bytes(out.text), tar);
    p.tar = tar.text;
    for (std::size_t at = 0; at + 1024 < p.tar.size();) {
        const std::string block = p.tar.substr(at, 512);
        const std::size_t size = std::stoul(block.substr(124, 11), nullptr, 8);
        if (block[156] != 'x')
            p.entries.push_back(std::string(1, block[156]) + " " + block.substr(0, 100).c_str());
        at += 512 + (size + 511) / 512 * 512;
    }
    return p;
}

Packed pack(const Tree& tree, PackOptions options = {}) {
    return pack(tree.root, std::move(options));
}

using Entries = std::vector<std::string>;

} // namespace

TEST_SUITE("layer/pack") {

    TEST_CASE("an empty directory is its root entry and two zero blocks") {
        Tree t;
        const Packed p = pack(t);
        CHECK(p.entries == Entries{"5 ./"});
        CHECK(p.tar.substr(p.tar.size() - 1024) == std::string(1024, '\0'));
        CHECK(p.trailer.size_bytes == p.tar.size());
        CHECK(p.trailer.digest == sha256(as_bytes(p.tar)));
        CHECK(p.trailer.file_count == 1);
        CHECK(!p.trailer.incomplete);
    }

    TEST_CASE("names are sorted bytewise, a directory before its content") {
        Tree t;
        for (const char* d : {"a", "a.d", "B"})
            t.dir(d);
        for (const char* f : {"a/z", "a/Z", "a.d/1", "ab", "\xff", "A"})
            t.file(f);
        CHECK(pack(t).entries == Entries{"5 ./", "0 A", "5 B/", "5 a/", "0 a/Z", "0 a/z", "5 a.d/",
                                         "0 a.d/1", "0 ab", "0 \xff"});
    }

    TEST_CASE("the bytes do not depend on threads, nor on the order of making") {
        Tree a, b;
        std::string big(3 << 20, 'q');
        for (std::size_t i = 0; i < big.size(); i += 97)
            big[i] = static_cast<char>(i * i >> 7);
        struct timespec when[2] = {{1, 0}, {1700000000, 123}};
        for (const Tree* t : {&a, &b}) {
            for (int i = 0; i < 300; ++i) {
                const int n = t == &a ? i : 299 - i;
                t->file("f" + std::to_string(n),
                        std::string(static_cast<std::size_t>(n * 31), 'x'));
            }
            t->file("big", big);
            t->file("big2", big);
            for (const auto& e : fs::directory_iterator(t->root))
                REQUIRE(utimensat(AT_FDCWD, e.path().c_str(), when, 0) == 0);
            REQUIRE(utimensat(AT_FDCWD, t->root.c_str(), when, 0) == 0);
        }
        PackOptions one, many;
        one.threads = 1;
        many.threads = 8;
        const Packed p = pack(a, one);
        CHECK(p.stream == pack(a, many).stream);
        CHECK(p.tar == pack(b, many).tar);
    }

    TEST_CASE("all names of a file refer to the first in archive order") {
        Tree t;
        t.dir("a");
        t.file("z", "content");
        fs::create_hard_link(t.root / "z", t.root / "a/y");
        fs::create_hard_link(t.root / "z", t.root / "b");
        fs::create_symlink("target", t.root / "s2");
        REQUIRE(link((t.root / "s2").c_str(), (t.root / "s1").c_str()) == 0);
        const Packed p = pack(t);
        CHECK(p.entries == Entries{"5 ./", "5 a/", "0 a/y", "1 b", "2 s1", "1 s2", "1 z"});
        const std::size_t z = p.tar.rfind("z", p.tar.size() - 1025);
        CHECK(std::string(p.tar.substr(p.tar.size() - 1024 - 512 + 157, 100).c_str()) == "a/y");
        CHECK(z != std::string::npos);
    }

    TEST_CASE("big hard links, with a big single file between") {
        Tree t;
        const std::string big(400 << 10, 'b');
        t.file("a", std::string(20 << 20, 'a'));
        t.file("b", std::string(20 << 20, 'b')); // more than is read ahead: would block "a"
        t.file("c", big);
        fs::create_hard_link(t.root / "a", t.root / "d");
        fs::create_hard_link(t.root / "c", t.root / "e");
        t.file("f", std::string(20 << 20, 'f')); // would be blocked by "d" if that were read
        CHECK(pack(t).entries == Entries{"5 ./", "0 a", "0 b", "0 c", "1 d", "1 e", "0 f"});
    }

    TEST_CASE("sockets are noted, and nothing is incomplete") {
        Tree t;
        t.file("f");
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        const std::string path = (t.root / "s").string();
        path.copy(address.sun_path, sizeof address.sun_path - 1);
        const UniqueFd fd(socket(AF_UNIX, SOCK_STREAM, 0));
        REQUIRE(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
        const Packed p = pack(t);
        CHECK(p.entries == Entries{"5 ./", "0 f"});
        CHECK(!p.trailer.incomplete);
        CHECK(p.trailer.skipped == std::vector<SkippedPath>{{"s", "socket"}});
    }

    TEST_CASE("holes and zeros give the same bytes") {
        Tree a, b;
        const std::string data(100 << 10, 'd');
        a.file("f", data + std::string(4 << 20, '\0') + data);
        b.file("f", data);
        fs::resize_file(b.root / "f", data.size() + (4 << 20));
        std::ofstream(b.root / "f", std::ios::app | std::ios::binary) << data;
        struct timespec when[2] = {{1, 0}, {1700000000, 0}};
        for (const Tree* t : {&a, &b})
            for (const fs::path& p : {t->root / "f", t->root})
                REQUIRE(utimensat(AT_FDCWD, p.c_str(), when, 0) == 0);
        struct stat sa, sb;
        stat((a.root / "f").c_str(), &sa);
        stat((b.root / "f").c_str(), &sb);
        WARN(sa.st_blocks > sb.st_blocks); // else this file system stores no holes
        CHECK(pack(a).tar == pack(b).tar);
        CHECK(pack(a).tar.size() < (1 << 20));
        PackOptions never;
        never.sparse = PackOptions::Sparse::never;
        CHECK(pack(a, never).tar.size() > (4 << 20));
        CHECK(pack(a, never).tar == pack(b, never).tar);
    }

    TEST_CASE("the table of contents has the SHA-256 of what the tar holds of a file") {
        Tree t;
        const std::string big(300 << 10, 'b'), hole(2 << 20, '\0');
        t.file("big", big);
        t.file("empty", "");
        t.file("holes", "data" + hole + "end");
        t.file("small", "content");
        const Packed p = pack(t);
        std::map<std::string, TocEntry> toc;
        const std::size_t at = p.trailer.data_bytes + kSkippableHeaderSize;
        read_toc(as_bytes(p.stream).subspan(at, p.trailer.before_bytes - at),
                 [&](std::uint64_t, const TocEntry& e) { return toc[e.path] = e, true; });
        CHECK(toc["big"].sha256 == sha256(as_bytes(big)));
        CHECK(toc["empty"].sha256 == sha256({}));
        CHECK(toc["small"].sha256 == sha256(as_bytes("content")));
        CHECK(toc["holes"].size == hole.size() + 7);
        const std::size_t map = p.tar.find("2\n0\n4096\n2097152\n7\n");
        REQUIRE(map != std::string::npos);
        CHECK(toc["holes"].sha256 == sha256(as_bytes(p.tar).subspan(map, 512 + 4096 + 7)));
    }

    TEST_CASE("small files can be sparse when asked") {
        Tree t;
        t.file("f", std::string(100 << 10, '\0') + "end");
        PackOptions always;
        always.sparse = PackOptions::Sparse::always;
        CHECK(pack(t, always).tar.find("GNU.sparse.realsize=102403\n") != std::string::npos);
        CHECK(pack(t).tar.find("GNU.sparse") == std::string::npos);
    }

    TEST_CASE("what is excluded is not there, nor what is below") {
        Tree t;
        t.dir("keep/cache");
        t.dir("cache/deep");
        for (const char* f : {"keep/f", "keep/cache/f", "cache/deep/f", "a.tmp", "b"})
            t.file(f);
        PackOptions o;
        o.excludes = {"cache/", "*.tmp"};
        CHECK(pack(t, o).entries == Entries{"5 ./", "0 b", "5 keep/", "0 keep/f"});
    }

    TEST_CASE("a name that OCI reserves is refused by path, unless it is excluded") {
        Tree t;
        t.dir("d");
        t.file("d/.wh.x");
        try {
            pack(t);
            FAIL("packed");
        } catch (const Error& e) {
            CHECK(e.kind() == ErrorKind::data);
            CHECK(e.message().find("d/.wh.x") != std::string::npos);
        }
        PackOptions o;
        o.excludes = {".wh.*"};
        CHECK(pack(t, o).entries == Entries{"5 ./", "5 d/"});
        PackOptions overlay;
        overlay.whiteouts = PackOptions::Whiteouts::overlay;
        CHECK(pack(t, overlay).entries == Entries{"5 ./", "5 d/", "0 d/.wh.x"});
    }

    TEST_CASE("a missing directory, and one that is a file, are not found") {
        Tree t;
        t.file("f");
        for (const char* name : {"none", "f"}) {
            try {
                pack(t.root / name);
                FAIL("packed");
            } catch (const Error& e) {
                CHECK(e.kind() == ErrorKind::not_found);
            }
        }
    }

    TEST_CASE("overlay marks of a userxattr mount") {
        Tree t;
        t.dir("opaque");
        t.dir("x");
        t.file("x/gone", "");
        t.file("x/there", "");
        t.file("x/full");
        t.file("opaque/gone", "");
        if (!t.xattr("opaque", "user.overlay.opaque", "y"))
            return; // no user xattrs here
        REQUIRE(t.xattr("x", "user.overlay.opaque", "x"));
        for (const char* f : {"x/gone", "opaque/gone", "x/full"})
            REQUIRE(t.xattr(f, "user.overlay.whiteout", "y"));
        REQUIRE(t.xattr("x/there", "user.overlay.origin", "host"));
        REQUIRE(t.xattr("x/there", "user.overlay.overlay.opaque", "y"));
        const Packed p = pack(t);
        CHECK(p.entries == Entries{"5 ./", "5 opaque/", "0 opaque/.wh..wh..opq", "5 x/",
                                   "0 x/.wh.gone", "0 x/full", "0 x/there"});
        CHECK(p.tar.find("user.overlay.origin") == std::string::npos);
        CHECK(p.tar.find("SCHILY.xattr.user.overlay.opaque=y") != std::string::npos);

        PackOptions overlay;
        overlay.whiteouts = PackOptions::Whiteouts::overlay;
        const Packed q = pack(t, overlay);
        CHECK(q.tar.find("comment=zl whiteouts=overlay\n") != std::string::npos);
        CHECK(q.tar.find("SCHILY.xattr.user.overlay.opaque=x") != std::string::npos);
        CHECK(q.tar.find("SCHILY.xattr.user.overlay.overlay.opaque=y") != std::string::npos);
        CHECK(q.tar.find("user.overlay.origin") == std::string::npos);
    }

    TEST_CASE(
        "whiteout devices: first of their directory, no hard links, none where all is hidden") {
        Tree t;
        t.dir("opaque");
        t.file("a");
        if (mknod((t.root / "z").c_str(), S_IFCHR, 0) != 0 ||
            !t.xattr("opaque", "trusted.overlay.opaque", "y"))
            return; // needs root
        for (const char* name : {"y", "opaque/gone"})
            REQUIRE(link((t.root / "z").c_str(), (t.root / name).c_str()) == 0);
        CHECK(pack(t).entries ==
              Entries{"5 ./", "0 .wh.y", "0 .wh.z", "0 a", "5 opaque/", "0 opaque/.wh..wh..opq"});
        PackOptions overlay;
        overlay.whiteouts = PackOptions::Whiteouts::overlay;
        CHECK(pack(t, overlay).entries ==
              Entries{"5 ./", "3 y", "3 z", "0 a", "5 opaque/", "3 opaque/gone"});
    }

    TEST_CASE("content that is in a lower layer is refused, or taken from there") {
        Tree upper, lower;
        lower.dir("old/sub");
        lower.file("old/a", "A");
        lower.file("old/gone", "G");
        lower.file("old/sub/b", "B");
        lower.file("old/data", "DATA");
        upper.dir("new");
        upper.file("new/a", "changed");
        upper.file("new/data", std::string(4, '\0'));
        if (!upper.xattr("new", "user.overlay.redirect", "old"))
            return;
        upper.file("new/gone", "");
        REQUIRE(upper.xattr("new/gone", "user.overlay.whiteout", ""));
        REQUIRE(upper.xattr("new", "user.overlay.opaque", "x"));
        REQUIRE(upper.xattr("new/data", "user.overlay.metacopy", ""));
        REQUIRE(upper.xattr("new/data", "user.overlay.redirect", "/old/data"));
        CHECK_THROWS_AS(pack(upper), Error);
        PackOptions o;
        o.lowers = {lower.root};
        const Packed p = pack(upper, o);
        CHECK(p.entries == Entries{"5 ./", "5 new/", "0 new/.wh..wh..opq", "0 new/a", "0 new/data",
                                   "5 new/sub/", "0 new/sub/b"});
        CHECK(p.tar.find("changed") != std::string::npos);
        CHECK(p.tar.find("DATA") != std::string::npos);
        CHECK(p.tar.find("redirect") == std::string::npos);
    }

    TEST_CASE("unreadable files are named, left out, and the layer is incomplete") {
        if (geteuid() == 0)
            return; // root reads everything; tests/pipeline does this as another user
        Tree t;
        t.file("a");
        t.file("b");
        fs::permissions(t.root / "a", fs::perms::none);
        const Packed p = pack(t);
        CHECK(p.entries == Entries{"5 ./", "0 b"});
        CHECK(p.trailer.incomplete);
    }

    TEST_CASE("a tree deeper than the handles that are kept open") {
        Tree t;
        std::string path;
        Entries expected = {"5 ./"};
        UniqueFd dir(open(t.root.c_str(), O_RDONLY | O_DIRECTORY));
        for (int i = 0; i < 400; ++i) {
            REQUIRE(mkdirat(dir.get(), "d", 0755) == 0);
            const UniqueFd f(openat(dir.get(), "z", O_CREAT | O_WRONLY, 0644));
            dir = UniqueFd(openat(dir.get(), "d", O_RDONLY | O_DIRECTORY));
        }
        const Packed p = pack(t);
        CHECK(p.entries.size() == 801);
        CHECK(p.entries.back() == "0 z");
        CHECK(!p.trailer.incomplete);
    }

    TEST_CASE("paths for people") {
        CHECK(escape_path("a/\xc3\xa9 b") == "a/\xc3\xa9 b");
        CHECK(escape_path("a\n\x7f\\\xff\xc3") == "a\\x0a\\x7f\\\\\\xff\\xc3");
        CHECK(escape_path("\xc0\x80\xed\xa0\x80\xc2\x9b") == "\\xc0\\x80\\xed\\xa0\\x80\\xc2\\x9b");
        CHECK(escape_path(std::string(5000, 'x')).size() < 1100);
    }

    TEST_CASE("a stop ends it") {
        Tree t;
        t.file("f");
        std::stop_source stop;
        stop.request_stop();
        MemorySink out;
        NullLog log;
        NullProgress progress;
        PackOptions o;
        o.dir = t.root;
        CHECK_THROWS_AS(pack_directory(o, out, log, progress, stop.get_token()), Interrupted);
    }

} // suite
