#include "../temp_dir.hpp"
#include "base/error.hpp"
#include "base/file.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

using namespace zl;

namespace {

using test::TempDir;

template <typename Fn>
ErrorKind kind_of(Fn fn) {
    try {
        fn();
    } catch (const Error& e) {
        return e.kind();
    }
    FAIL("no error");
    return ErrorKind::internal;
}

} // namespace

TEST_SUITE("base/error") {
    TEST_CASE("errno becomes a kind and a sentence in lower case") {
        CHECK(sys_error("open /x", ENOENT).message() == "open /x: no such file or directory");
        CHECK(sys_error("x", ENOENT).kind() == ErrorKind::not_found);
        CHECK(sys_error("x", EACCES).kind() == ErrorKind::denied);
        CHECK(sys_error("x", EPERM).kind() == ErrorKind::denied);
        CHECK(sys_error("x", ENOSPC).kind() == ErrorKind::io);
    }

    TEST_CASE("context goes in front and keeps kind and hint") {
        Error e(ErrorKind::data, "checksum 1, expected 2", "look");
        e.add_context("segment 7").add_context("restoring");
        CHECK(std::string(e.what()) == "restoring: segment 7: checksum 1, expected 2");
        CHECK(e.kind() == ErrorKind::data);
        CHECK(e.hint() == "look");
    }
}

TEST_SUITE("base/file") {
    TEST_CASE("an atomic file appears at commit with its mode, and not before") {
        TempDir dir;
        ::umask(022);
        {
            AtomicFile f(dir / "x", 0640);
            f.write("hello ");
            f.write("world");
            CHECK_FALSE(path_exists(dir / "x"));
            f.commit();
        }
        CHECK(read_file(dir / "x") == "hello world");
        struct stat st {};
        REQUIRE(::stat((dir / "x").c_str(), &st) == 0);
        CHECK((st.st_mode & 07777) == 0640);
        CHECK(dir.names().size() == 1);
    }

    TEST_CASE("without commit the old content stays and nothing is left behind") {
        TempDir dir;
        AtomicFile(dir / "x").commit();
        {
            AtomicFile f(dir / "x");
            f.write("new");
        }
        CHECK(read_file(dir / "x") == "");
        CHECK(dir.names().size() == 1);
    }

    TEST_CASE("create only: a name that came meanwhile is never overwritten") {
        TempDir dir;
        AtomicFile a(dir / "x", 0666, false), b(dir / "x", 0666, false);
        a.write("a");
        b.write("b");
        a.commit();
        CHECK(kind_of([&] { b.commit(); }) == ErrorKind::exists);
        CHECK(read_file(dir / "x") == "a");
    }

    TEST_CASE("a long name has room for the temporary one's suffix") {
        TempDir dir;
        std::string name(255, 'n');
        AtomicFile f(dir / name.c_str());
        f.commit();
        CHECK(path_exists(dir / name.c_str()));
    }

    TEST_CASE("whole files: absent, empty, exactly a buffer, too large") {
        TempDir dir;
        CHECK_FALSE(read_file(dir / "none"));
        for (std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{64} << 10,
                                 (std::size_t{64} << 10) + 1, std::size_t{300} << 10}) {
            CAPTURE(size);
            AtomicFile f(dir / "x");
            f.write(std::string(size, 'x'));
            f.commit();
            CHECK(read_file(dir / "x").value_or("").size() == size);
            CHECK(read_file(dir / "x", size).has_value());
            if (size > 0)
                CHECK(kind_of([&] { read_file(dir / "x", size - 1); }) == ErrorKind::io);
        }
    }

    TEST_CASE("positioned reads stop at the end, writes make holes") {
        TempDir dir;
        UniqueFd fd = open_file(dir / "x", O_RDWR | O_CREAT);
        pwrite_full(fd.get(), as_bytes("abc"), 5, "x");
        std::array<std::byte, 16> buffer{};
        CHECK(pread_full(fd.get(), buffer, 0, "x") == 8);
        CHECK(as_text(std::span(buffer).subspan(5, 3)) == "abc");
        CHECK(pread_full(fd.get(), buffer, 7, "x") == 1);
        CHECK(pread_full(fd.get(), buffer, 8, "x") == 0);
        fd.close_checked("x");
        CHECK_FALSE(fd);
    }

    TEST_CASE("a full disk is an io error") {
        UniqueFd fd = open_file("/dev/full", O_WRONLY);
        CHECK(kind_of([&] { write_full(fd.get(), as_bytes("x"), "full"); }) == ErrorKind::io);
    }

    TEST_CASE("directories are made with their parents; a file in the way is an error") {
        TempDir dir;
        make_dirs(dir / "a/b/c", 0700);
        make_dirs(dir / "a/b/c", 0700);
        struct stat st {};
        REQUIRE(::stat((dir / "a/b").c_str(), &st) == 0);
        CHECK((st.st_mode & 07777) == 0700);
        AtomicFile(dir / "f").commit();
        CHECK_THROWS_AS(make_dirs(dir / "f"), Error);
        CHECK_THROWS_AS(make_dirs(dir / "f/x"), Error);
    }

    TEST_CASE("a path that cannot be looked at does not count as absent") {
        TempDir dir;
        CHECK_FALSE(path_exists(dir / "a"));
        CHECK_FALSE(path_exists(dir / std::string(300, 'a').c_str()));
        std::filesystem::create_symlink("round", dir / "round"); // ELOOP, which root gets too
        CHECK(path_exists(dir / "round"));
        CHECK_THROWS_AS(path_exists(dir / "round/a"), Error);
    }

    TEST_CASE("directory part of a path") {
        CHECK(dir_name("/a/b") == "/a");
        CHECK(dir_name("/a/b/") == "/a");
        CHECK(dir_name("/a") == "/");
        CHECK(dir_name("//a") == "/");
        CHECK(dir_name("a") == ".");
        CHECK(dir_name("a//b") == "a");
        CHECK(dir_name("/") == "/");
        CHECK(dir_name("") == ".");
    }

    TEST_CASE("a lock is held once, dies with its holder, and its file may go with it") {
        TempDir dir;
        {
            auto lock = FileLock::try_lock(dir / "lock");
            REQUIRE(lock);
            CHECK_FALSE(FileLock::try_lock(dir / "lock"));
        }
        auto lock = FileLock::try_lock(dir / "lock");
        REQUIRE(lock);
        lock->remove_and_unlock();
        CHECK_FALSE(path_exists(dir / "lock"));
        CHECK(FileLock::try_lock(dir / "lock"));
    }
}
