#include "layer/applier.hpp"

#include "base/error.hpp"
#include "layer/acl_text.hpp"
#include "layer/foreign_reader.hpp"
#include "layer/tar_reader.hpp"
#include "tar_builder.hpp"
#include "look.hpp"

#include <doctest/doctest.h>

#include <optional>

using namespace zl;
using namespace zl::test;

namespace {

/// Applies @p tar into @p dir; the kind of error it ends with.
struct Applied {
    std::optional<ErrorKind> error;
    std::string message;
    bool lost = false;
    std::vector<Deletion> deletions;
    std::set<std::string> implicit;
};

Applied apply_tar(const std::string& tar, const std::string& dir, Applier::Options options = {}) {
    const mode_t before = ::umask(0);
    Applied result;
    NullLog log;
    Losses losses(log);
    ::mkdir(dir.c_str(), 0700);
    const UniqueFd fd(::open(dir.c_str(), O_RDONLY | O_DIRECTORY));
    try {
        MemorySource source(as_bytes(tar));
        const auto reader = options.foreign ? make_foreign_reader(source)
                                            : std::make_unique<TarReader>(source);
        Applier applier(fd.get(), options,
                        [&](const Deletion& d) { result.deletions.push_back(d); }, losses, {});
        TarEntry entry;
        while (reader->next(entry))
            applier.add(entry, *reader);
        applier.finish();
        result.implicit = applier.implicit_dirs();
    } catch (const Error& e) {
        result.error = e.kind();
        result.message = e.message();
    }
    result.lost = losses.any();
    ::umask(before);
    return result;
}

bool contains(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

TarBuilder xattr_entry(TarBuilder t, char type, const std::string& name, const std::string& xattr,
                       const std::string& value) {
    RawHeader h;
    h.name = name;
    h.type = type;
    return t.pax(record("SCHILY.xattr." + xattr, value)).header(h);
}

} // namespace

TEST_SUITE("layer/applier") {

TEST_CASE("restores modes, times, links, fifos, holes") {
    const TempDir t;
    TarBuilder b;
    b.dir("./", "0000750").dir("d/", "0000555").pax(record("mtime", "1.25")).file("d/f", "hello");
    b.file("d/none", "", "0000000").link('1', "h", "d/f").link('2', "l", "../../etc");
    RawHeader fifo;
    fifo.name = "p";
    fifo.type = '6';
    fifo.mode = "0000640";
    b.header(fifo).file("zeros", std::string(100000, '\0') + "x" + std::string(99999, '\0'));
    const auto r = apply_tar(b.end(), t / "x");
    CHECK(r.message == "");
    CHECK(r.implicit.empty());
    CHECK((stat_of(t / "x").st_mode & 07777) == 0750);
    CHECK(stat_of(t / "x").st_mtime == 1);
    CHECK((stat_of(t / "x/d").st_mode & 07777) == 0555);
    CHECK(stat_of(t / "x/d").st_mtime == 1);
    CHECK(stat_of(t / "x/d/f").st_mtim.tv_nsec == 250000000);
    CHECK(stat_of(t / "x/d/f").st_ino == stat_of(t / "x/h").st_ino);
    CHECK((stat_of(t / "x/d/none").st_mode & 07777) == 0);
    CHECK(S_ISLNK(stat_of(t / "x/l").st_mode));
    CHECK(stat_of(t / "x/l").st_mtime == 1);
    CHECK(S_ISFIFO(stat_of(t / "x/p").st_mode));
    CHECK((stat_of(t / "x/p").st_mode & 07777) == 0640);
    CHECK(stat_of(t / "x/zeros").st_size == 200000);
    CHECK(stat_of(t / "x/zeros").st_blocks <= 8);
    CHECK(content_of(t / "x/zeros")[100000] == 'x');
    ::chmod((t / "x/d").c_str(), 0755);
}

TEST_CASE("owners, setuid after chown, devices, capabilities (root)") {
    if (!is_root())
        return;
    const TempDir t;
    TarBuilder b;
    b.dir("./");
    const std::string cap("\1\0\0\2\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
    b.pax(record("uid", "4294967294") + record("gid", "3000000000") +
          record("SCHILY.xattr.security.capability", cap));
    b.file("s", "#!", "0006755").device("c", "0000001", "0000003");
    const auto r = apply_tar(b.end(), t / "x");
    CHECK(r.message == "");
    CHECK_FALSE(r.lost);
    CHECK(stat_of(t / "x/s").st_uid == 4294967294U);
    CHECK(stat_of(t / "x/s").st_gid == 3000000000U);
    CHECK((stat_of(t / "x/s").st_mode & 07777) == 06755);
    CHECK(xattr_of(t / "x/s", "security.capability") == cap);
    CHECK(stat_of(t / "x/c").st_rdev == 0x103);
    // Not restoring owners must not make somebody's setuid program ours.
    Applier::Options options;
    options.same_owner = false;
    CHECK(apply_tar(b.end(), t / "y", options).message == "");
    CHECK(stat_of(t / "y/s").st_uid == 0);
    CHECK((stat_of(t / "y/s").st_mode & 07777) == 0755);
}

TEST_CASE("a default ACL or setgid directory does not touch what is made in it") {
    const TempDir t;
    const std::string acl = encode_acl_xattr({{AclTag::user_obj, 7, 0},
                                              {AclTag::user, 7, 1234},
                                              {AclTag::group_obj, 5, 0},
                                              {AclTag::mask, 7, 0},
                                              {AclTag::other, 5, 0}});
    TarBuilder b;
    b.dir("./").pax(record("SCHILY.xattr.system.posix_acl_default", acl)).dir("d/", "0002755");
    b.file("d/f", "", "0000604").dir("d/sub/");
    const auto r = apply_tar(b.end(), t / "x");
    CHECK(r.message == "");
    if (r.lost)
        return; // a file system without ACLs
    CHECK(xattr_of(t / "x/d", "system.posix_acl_default") == acl);
    CHECK(xattr_of(t / "x/d/f", "system.posix_acl_access") == "-");
    CHECK((stat_of(t / "x/d/f").st_mode & 07777) == 0604);
    CHECK(xattr_of(t / "x/d/sub", "system.posix_acl_default") == "-");
    CHECK((stat_of(t / "x/d/sub").st_mode & 07777) == 0755);
    CHECK((stat_of(t / "x/d").st_mode & 07777) == 02755);
}

TEST_CASE("hostile archives are refused and touch nothing outside") {
    const TempDir t;
    make_dirs(t / "canary");
    write_text(t / "canary/f", "canary");
    const std::string up = "../canary";
    const std::string abs = t / "canary";
    struct Case {
        const char* what;
        TarBuilder tar;
    };
    const auto start = [] { return TarBuilder().dir("./"); };
    const std::vector<Case> cases = {
        {"through a symlink", start().link('2', "l", up).file("l/f", "x")},
        {"through an absolute symlink", start().link('2', "l", abs).file("l/f", "x")},
        {"a directory over a symlink", start().link('2', "l", up).dir("l/").file("l/f", "x")},
        {"a file over a symlink", start().link('2', "l", "../canary/f").file("l", "x")},
        {"a hard link through a symlink", start().link('2', "l", up).link('1', "h", "l/f")},
        {"a hard link to what is outside", start().link('1', "h", "canary/f")},
        {"a hard link to a later name", start().link('1', "h", "z").file("z")},
        {"a hard link to a directory", start().dir("d/").file("d/x").link('1', "h", "d")},
        {"a chain of symlinks", start().link('2', "a", up).link('2', "b", "a").file("b/f", "x")},
        {"a symlink where a directory was", start().dir("d/").link('2', "d", up).file("d/f", "x")},
        {"a device where a directory was", start().dir("d/").device("d", "1", "3")},
        {"the same file twice", start().file("f").file("f")},
        {"the same directory twice", start().dir("d/").dir("d/")},
        {"a parent that is missing", start().file("d/f")},
        {"a parent that is a file", start().file("d").file("d/f")},
        {"back into a directory that was left", start().dir("d/").file("e").file("d/f")},
        {"the root later", start().file("f").dir("./")},
        {"a whiteout with content", start().file(".wh.f", "x")},
        {"a whiteout that is a directory", start().dir(".wh.f/")},
        {"a whiteout that is a link", start().link('2', ".wh.f", up)},
        {"a whiteout of nothing", start().file(".wh.")},
        {"a whiteout of .", start().file(".wh..")},
        {"a whiteout of ..", start().file(".wh...")},
        {"a whiteout of a whiteout", start().file(".wh..wh.x")},
        {"something below a whiteout", start().file(".wh.d").file(".wh.d/f")},
        {"a whiteout after its name", start().file("f").file(".wh.f")},
        {"a whiteout twice", start().file(".wh.f").file(".wh.f")},
    };
    int n = 0;
    for (const auto& c : cases) {
        CAPTURE(c.what);
        const auto r = apply_tar(c.tar.end(), t / ("x" + std::to_string(n++)));
        CHECK(r.error == ErrorKind::data);
        CHECK(names_in(t / "canary") == std::set<std::string>{"f"});
        CHECK(content_of(t / "canary/f") == "canary");
        CHECK(stat_of(t / "canary/f").st_nlink == 1);
    }
}

TEST_CASE("overlay: whiteouts become devices, opaque an xattr, both together opaque") {
    const TempDir t;
    TarBuilder b;
    b.dir("./").file(".wh.gone").file(".wh.new").file(".wh.wasfile").file("new", "x");
    b.dir("opq/").file("opq/.wh..wh..opq").file("opq/.wh.x").dir("opq/sub/").file("opq/sub/.wh.y");
    b.dir("wasfile/").file("wasfile/.wh.z").file("wasfile/f");
    for (const bool user : {false, true}) {
        Applier::Options options;
        options.userxattr = user;
        const std::string dir = t / (user ? "u" : "t");
        const auto r = apply_tar(b.end(), dir, options);
        if (r.error == ErrorKind::denied)
            continue; // a file system without user xattrs
        CHECK(r.message == "");
        CHECK(is_whiteout(dir + "/gone"));
        CHECK(content_of(dir + "/new") == "x");
        const std::string name =
            user || !is_root() ? "user.overlay.opaque" : "trusted.overlay.opaque";
        CHECK(xattr_of(dir + "/opq", name) == "y");
        CHECK(names_in(dir + "/opq") == std::set<std::string>{"sub"});
        CHECK(names_in(dir + "/opq/sub").empty());
        CHECK(xattr_of(dir + "/opq/sub", name) == "-");
        CHECK(xattr_of(dir + "/wasfile", name) == "y");
        CHECK(names_in(dir + "/wasfile") == std::set<std::string>{"f"});
        CHECK(xattr_of(dir, name) == "-");
    }
}

TEST_CASE("oci keeps the names, apply says what to delete") {
    const TempDir t;
    TarBuilder b;
    b.dir("./").file(".wh.gone").dir("opq/").file("opq/.wh..wh..opq").file("opq/.wh.x");
    Applier::Options options;
    options.whiteouts = WhiteoutMode::oci;
    CHECK(apply_tar(b.end(), t / "o", options).message == "");
    CHECK(names_in(t / "o") == std::set<std::string>{".wh.gone", "opq"});
    CHECK(names_in(t / "o/opq") == std::set<std::string>{".wh..wh..opq", ".wh.x"});
    options.whiteouts = WhiteoutMode::apply;
    const auto r = apply_tar(b.end(), t / "a", options);
    CHECK(names_in(t / "a") == std::set<std::string>{"opq"});
    REQUIRE(r.deletions.size() == 3);
    CHECK(r.deletions[0].path == "gone");
    CHECK_FALSE(r.deletions[0].opaque);
    CHECK(r.deletions[1].path == "opq");
    CHECK(r.deletions[1].opaque);
    CHECK(r.deletions[2].path == "opq/x");
}

TEST_CASE("overlay xattrs in a layer in OCI form never take effect") {
    if (!is_root())
        return;
    const TempDir t;
    for (const char* ns : {"trusted", "user"})
        for (const char* what : {"opaque", "redirect", "metacopy", "whiteout", "overlay.opaque"}) {
            const std::string name = std::string(ns) + ".overlay." + what;
            const std::string escaped = std::string(ns) + ".overlay.overlay." + what;
            CAPTURE(name);
            const std::string dir = t / name;
            const auto r =
                apply_tar(xattr_entry(TarBuilder().dir("./"), '5', "d/", name, "y").end(), dir);
            CHECK(r.message == "");
            CHECK(xattr_of(dir + "/d", escaped) == "y");
            CHECK(xattr_of(dir + "/d", name) == "-");
        }
}

TEST_CASE("overlay form: opaque and whiteouts are obeyed, redirect and metacopy refused") {
    const TempDir t;
    const auto start = [] {
        return TarBuilder().pax(record("comment", "zl whiteouts=overlay")).dir("./");
    };
    const auto with = [&](char type, const std::string& name, const std::string& value) {
        return xattr_entry(start(), type, type == '5' ? "d/" : "d", name, value).end();
    };
    const std::string mark = is_root() ? "trusted.overlay.opaque" : "user.overlay.opaque";
    CHECK(apply_tar(with('5', "trusted.overlay.opaque", "y"), t / "1").message == "");
    CHECK(xattr_of(t / "1/d", mark) == "y");
    CHECK(apply_tar(with('5', "trusted.overlay.opaque", "x"), t / "2").message == "");
    CHECK(xattr_of(t / "2/d", mark) == "-");
    CHECK(apply_tar(with('5', "user.overlay.overlay.opaque", "y"), t / "3").message == "");
    CHECK(xattr_of(t / "3/d", "user.overlay.overlay.opaque") == "y");
    CHECK(apply_tar(with('0', "trusted.overlay.whiteout", ""), t / "4").message == "");
    CHECK(is_whiteout(t / "4/d"));
    CHECK(apply_tar(with('5', "trusted.overlay.redirect", "/x"), t / "5").error == ErrorKind::data);
    CHECK(apply_tar(with('0', "user.overlay.metacopy", ""), t / "6").error == ErrorKind::data);
    CHECK(apply_tar(start().device("w", "0", "0").end(), t / "7").message == "");
    CHECK(is_whiteout(t / "7/w"));
    Applier::Options oci;
    oci.whiteouts = WhiteoutMode::oci;
    CHECK(apply_tar(start().device("w", "0", "0").end(), t / "8", oci).message == "");
    CHECK(names_in(t / "8") == std::set<std::string>{".wh.w"});
    CHECK(apply_tar(with('5', "trusted.overlay.opaque", "y"), t / "9", oci).message == "");
    CHECK(names_in(t / "9/d") == std::set<std::string>{".wh..wh..opq"});
}

TEST_CASE("thousands of nested directories need few descriptors") {
    const TempDir t;
    TarBuilder b;
    b.dir("./");
    std::string path;
    for (int i = 0; i < 3000; ++i) {
        path += "d/";
        b.pax(record("path", path)).dir("x/", "0000750");
    }
    b.pax(record("path", path + "f")).file("f", "deep");
    b.pax(record("path", "h") + record("linkpath", path + "f")).link('1', "h", "x");
    CHECK(apply_tar(b.end(), t / "x").message == "");
    CHECK(content_of(t / "x/h") == "deep");
    CHECK(stat_of(t / "x/h").st_nlink == 2);
    std::string here = t / "x";
    for (int i = 0; i < 1000; ++i)
        here += "/d";
    CHECK((stat_of(here).st_mode & 07777) == 0750);
    CHECK(stat_of(here).st_mtime == 1);
}

TEST_CASE("nesting with big xattrs is bounded in memory") {
    const TempDir t;
    TarBuilder b;
    b.dir("./");
    std::string path;
    const std::string value(60000, 'v');
    std::string records;
    for (int i = 0; i < 40; ++i)
        records += record("SCHILY.xattr.user.x" + std::to_string(i), value);
    for (int i = 0; i < 40; ++i) {
        path += "d/";
        b.pax(record("path", path) + records).dir("x/");
    }
    CHECK(contains(apply_tar(b.end(), t / "x").message, "too many xattrs"));
}

TEST_CASE("foreign: any order, missing parents, directories twice") {
    const TempDir t;
    TarBuilder b;
    b.file("a/b/f", "1").dir("z/", "0000700").file("y", "new").file("a/g", "2");
    b.dir("a/", "0000711").dir("z/", "0000711").file("a/b//./h", "3");
    Applier::Options options;
    options.foreign = true;
    const auto r = apply_tar(b.end(), t / "x", options);
    CHECK(r.message == "");
    CHECK(content_of(t / "x/a/b/f") == "1");
    CHECK(content_of(t / "x/a/g") == "2");
    CHECK(content_of(t / "x/a/b/h") == "3");
    CHECK(content_of(t / "x/y") == "new");
    CHECK((stat_of(t / "x/a").st_mode & 07777) == 0711);
    CHECK((stat_of(t / "x/z").st_mode & 07777) == 0711);
    CHECK(stat_of(t / "x/a").st_mtime == 1);
    CHECK((stat_of(t / "x/a/b").st_mode & 07777) == 0755);
    CHECK(r.implicit == std::set<std::string>{"", "a/b"});
}

TEST_CASE("foreign: whiteouts in any place, AUFS' books are left out") {
    const TempDir t;
    TarBuilder b;
    b.dir("d/").file("d/f").file(".wh.d").dir("e/").file("e/.wh.x").file("e/.wh..wh..opq");
    b.file(".wh..wh.aufs").dir(".wh..wh.plnk/").file(".wh..wh.plnk/1.2");
    Applier::Options options;
    options.foreign = true;
    const auto r = apply_tar(b.end(), t / "x", options);
    CHECK(r.message == "");
    const std::string mark = is_root() ? "trusted.overlay.opaque" : "user.overlay.opaque";
    CHECK(names_in(t / "x") == std::set<std::string>{"d", "e"});
    CHECK(xattr_of(t / "x/d", mark) == "y");
    CHECK(content_of(t / "x/d/f") == "");
    CHECK(xattr_of(t / "x/e", mark) == "y");
    CHECK(names_in(t / "x/e").empty());
    const auto plnk =
        apply_tar(TarBuilder().link('1', "h", ".wh..wh.plnk/1.2").end(), t / "y", options);
    CHECK(contains(plnk.message, "AUFS"));
}

TEST_CASE("foreign: hostile archives too") {
    const TempDir t;
    make_dirs(t / "canary");
    Applier::Options options;
    options.foreign = true;
    RawHeader small;
    small.size = 512;
    RawHeader unknown;
    unknown.type = 'Z';
    RawHeader sized_link;
    sized_link.name = "h";
    sized_link.type = '1';
    sized_link.link = "f";
    sized_link.size = 512;
    int n = 0;
    for (const auto& tar :
         {TarBuilder().link('2', "l", "../canary").file("l/f", "x"), TarBuilder().file("../f"),
          TarBuilder().file("/tmp/zl-absolute"), TarBuilder().file("a/../../f"),
          TarBuilder().link('2', "l", "../canary").link('1', "h", "l/f"),
          TarBuilder().dir("d/").device("d", "1", "3"), TarBuilder().file("f").file("f/g"),
          TarBuilder().link('2', "l", "../canary/f").file("l", "x"),
          TarBuilder().link('2', "l", "../canary/f").link('1', "h", "l").file("h", "x"),
          TarBuilder().pax(record("path", std::string("a\0b", 3))).file("f"),
          TarBuilder().link('2', "l", ""), TarBuilder().file("f").header(sized_link),
          TarBuilder().file(".wh.d/f"), TarBuilder().header(unknown),
          TarBuilder().file("f").file("f"), TarBuilder().pax(record("size", "0"), 'g').file("f"),
          TarBuilder().pax(record("size", "0")).header(small).file("smuggled"),
          TarBuilder().link('2', "l", "../canary").dir("l/").file("l/f")}) {
        CAPTURE(n);
        const auto r = apply_tar(tar.end(), t / ("x" + std::to_string(n++)), options);
        CHECK(r.error == ErrorKind::data);
    }
    CHECK(names_in(t / "canary").empty());
}

TEST_CASE("foreign: truncation at every length is noticed") {
    TarBuilder b;
    b.dir("d/").file("d/f", std::string(600, '\0')).pax(record("path", "long")).file("g", "x");
    const std::string tar = b.end();
    const TempDir t;
    Applier::Options options;
    options.foreign = true;
    REQUIRE(apply_tar(tar, t / "whole", options).message == "");
    for (std::size_t size = 0; size < tar.size(); ++size) {
        CAPTURE(size);
        CHECK(apply_tar(tar.substr(0, size), t / std::to_string(size), options).error ==
              ErrorKind::data);
    }
    CHECK(apply_tar(tar + std::string(10240, '\0'), t / "padded", options).message == "");
    CHECK(apply_tar(tar + tar, t / "twice", options).error == ErrorKind::data);
    CHECK(apply_tar(tar + std::string(100, 'x'), t / "garbage", options).error == ErrorKind::data);
}

TEST_CASE("foreign: names, xattr names and ACL ids come as they are") {
    const TempDir t;
    Applier::Options options;
    options.foreign = true;
    const std::string nfd = "u\xcc\x88-nfd", bytes = "non\xff\xfeutf";
    TarBuilder b;
    b.pax(record("path", nfd)).file("1").pax(record("path", bytes)).file("2").file(bytes + "2");
    b.pax(record("SCHILY.xattr.user.a%3Db", "1") + record("SCHILY.xattr.user.\xc3\xbc", "2"));
    b.file("x").pax(record("SCHILY.acl.access",
                           "user::rw-\nuser:4000000000:--x\ngroup::r--\nmask::r-x\nother::r--\n"));
    const auto r = apply_tar(b.file("acl").end(), t / "x", options);
    CHECK(r.message == "");
    CHECK(names_in(t / "x") == std::set<std::string>{nfd, bytes, bytes + "2", "x", "acl"});
    if (xattr_of(t / "x/x", "user.a=b") != "-")
        CHECK(xattr_of(t / "x/x", "user.\xc3\xbc") == "2");
    if (!r.lost)
        CHECK(contains(xattr_of(t / "x/acl", "system.posix_acl_access"),
                       std::string_view("\x02\0\x01\0\0\x28\x6b\xee", 8)));
}

} // TEST_SUITE
