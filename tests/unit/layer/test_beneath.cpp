#include "layer/beneath.hpp"

#include "base/error.hpp"
#include "look.hpp"

#include <doctest/doctest.h>

#include <sys/mount.h>

#include <cerrno>

using namespace zl;
using namespace zl::test;

namespace {

UniqueFd open_dir(const std::string& path) {
    return UniqueFd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

/// Both ways to resolve must agree: the inode, or 0.
ino_t resolve(int root, const std::string& path) {
    struct stat a{}, b{};
    const UniqueFd one = open_dir_beneath(root, path);
    const UniqueFd two = open_dir_stepwise(root, path);
    if (one)
        ::fstat(one.get(), &a);
    if (two)
        ::fstat(two.get(), &b);
    CHECK(a.st_ino == b.st_ino);
    return a.st_ino;
}

/// A chain of @p depth directories below @p dir, however long its path.
void make_chain(const std::string& dir, const std::string& name, int depth) {
    UniqueFd here = open_dir(dir);
    for (int i = 0; i < depth; ++i) {
        REQUIRE(::mkdirat(here.get(), name.c_str(), 0700) == 0);
        here = UniqueFd(::openat(here.get(), name.c_str(), O_RDONLY | O_DIRECTORY));
        REQUIRE(here);
    }
}

} // namespace

TEST_SUITE("layer/beneath") {

TEST_CASE("opens directories beneath the root and nothing else") {
    const TempDir t;
    make_dirs(t / "root/a/b");
    make_dirs(t / "outside");
    write_text(t / "root/file", "x");
    REQUIRE(::symlink("../outside", (t / "root/up").c_str()) == 0);
    REQUIRE(::symlink("a", (t / "root/to_a").c_str()) == 0);
    REQUIRE(::symlink("/", (t / "root/abs").c_str()) == 0);
    const UniqueFd root = open_dir(t / "root");
    CHECK(resolve(root.get(), "") == stat_of(t / "root").st_ino);
    CHECK(resolve(root.get(), "a") == stat_of(t / "root/a").st_ino);
    CHECK(resolve(root.get(), "a/b") == stat_of(t / "root/a/b").st_ino);
    for (const char* path : {"..", "../outside", "a/../../outside", "up", "up/x", "to_a", "to_a/b",
                             "abs", "abs/tmp", "file", "file/x", "nothing", "/tmp", "/"}) {
        CAPTURE(path);
        CHECK(resolve(root.get(), path) == 0);
    }
}

TEST_CASE("a magic link of /proc does not lead out") {
    const UniqueFd proc = open_dir("/proc/self");
    if (proc)
        CHECK_FALSE(open_dir_beneath(proc.get(), "root/tmp"));
}

TEST_CASE("paths longer than PATH_MAX") {
    const TempDir t;
    const std::string name(200, 'd');
    make_chain(t.path(), name, 60); // 12 KB
    std::string path = name;
    for (int i = 1; i < 60; ++i)
        path += "/" + name;
    const UniqueFd root = open_dir(t.path());
    CHECK(resolve(root.get(), path) != 0);
    CHECK(resolve(root.get(), path + "/nothing") == 0);
}

TEST_CASE("does not cross a mount point") {
    const TempDir t;
    make_dirs(t / "m");
    if (::mount("none", (t / "m").c_str(), "tmpfs", 0, "size=64k") != 0)
        return; // not root
    make_dirs(t / "m/inside");
    const UniqueFd root = open_dir(t.path());
    CHECK(resolve(root.get(), "m") == 0);
    CHECK(resolve(root.get(), "m/inside") == 0);
    CHECK(look_at(root.get(), "m")->mount_point);
    CHECK_THROWS_AS(remove_tree(root.get(), "m"), Error);
    CHECK(exists(t / "m/inside"));
    ::umount((t / "m").c_str());
}

TEST_CASE("removes a tree but not what its links point to") {
    const TempDir t;
    make_dirs(t / "keep/sub");
    write_text(t / "keep/file", "x");
    make_dirs(t / "gone/d/e");
    write_text(t / "gone/d/e/f", "x");
    REQUIRE(::symlink("../keep", (t / "gone/link").c_str()) == 0);
    REQUIRE(::link((t / "keep/file").c_str(), (t / "gone/hard").c_str()) == 0);
    const UniqueFd dir = open_dir(t.path());
    remove_tree(dir.get(), "gone");
    CHECK_FALSE(exists(t / "gone"));
    CHECK(content_of(t / "keep/file") == "x");
    CHECK(exists(t / "keep/sub"));
    remove_tree(dir.get(), "gone"); // not there: nothing to do
    REQUIRE(::symlink("keep", (t / "l").c_str()) == 0);
    remove_tree(dir.get(), "l");
    CHECK(exists(t / "keep/file"));
}

TEST_CASE("removes a tree deeper than descriptors, and unwritable directories") {
    const TempDir t;
    make_dirs(t / "deep");
    make_chain(t / "deep", "d", 3000);
    make_dirs(t / "deep/ro/x");
    ::chmod((t / "deep/ro").c_str(), 0);
    const UniqueFd dir = open_dir(t.path());
    remove_tree(dir.get(), "deep");
    CHECK(names_in(t.path()).empty());
}

TEST_CASE("splits paths") {
    CHECK(split_path("a").parent == "");
    CHECK(split_path("a").name == "a");
    CHECK(split_path("a/b/c").parent == "a/b");
    CHECK(split_path("a/b/c").name == "c");
}

} // TEST_SUITE
