#include "layer/staging.hpp"

#include "base/error.hpp"
#include "layer/journal.hpp"
#include "layer/unpack.hpp"
#include "look.hpp"

#include <doctest/doctest.h>

#include <sys/file.h>
#include <sys/wait.h>

#include <csignal>
#include <functional>
#include <map>

using namespace zl;
using namespace zl::test;

namespace {

NullLog null_log;

/// Everything in a directory that a user sees: path -> type, mode, mtime, content.
std::map<std::string, std::string> snapshot(const std::string& dir, const std::string& at = {}) {
    std::map<std::string, std::string> all;
    for (const auto& name : names_in(dir)) {
        const std::string path = dir + "/" + name;
        const auto st = stat_of(path);
        std::string what = std::to_string(st.st_mode);
        // Directories that no layer describes get their time from whoever writes into them.
        if (S_ISREG(st.st_mode))
            what += " " + content_of(path);
        if (S_ISDIR(st.st_mode))
            all.merge(snapshot(path, at + name + "/"));
        all[at + name] = what;
    }
    return all;
}

std::optional<ErrorKind> error_of(const std::function<void()>& fn) {
    try {
        fn();
        return std::nullopt;
    } catch (const Error& e) {
        return e.kind();
    }
}

StageOptions options_for(const std::string& dir, bool merge = false,
                         WhiteoutMode mode = WhiteoutMode::overlay) {
    StageOptions o;
    o.dir = dir;
    o.merge = merge;
    o.whiteouts = mode;
    return o;
}

/// A small layer: `new`, `both/{changed,added}`, `dir/deep/f`, root 0711.
void fill_stage(Stage& stage) {
    const std::string root = "/proc/self/fd/" + std::to_string(stage.root());
    write_text(root + "/new", "new");
    make_dirs(root + "/both");
    make_dirs(root + "/dir/deep");
    write_text(root + "/both/changed", "layer");
    write_text(root + "/both/added", "added");
    write_text(root + "/dir/deep/f", "f");
    ::chmod((root + "/both").c_str(), 0750);
    ::fchmod(stage.root(), 0711);
}

void publish_layer(const StageOptions& options, const std::vector<Deletion>& deletions = {}) {
    Losses losses(null_log);
    const auto stage = open_stage(options, null_log, losses);
    fill_stage(*stage);
    for (const auto& d : deletions)
        stage->add_deletion(d);
    stage->publish("d1", {});
}

void finish(const std::string& dir) {
    Losses losses(null_log);
    finish_interrupted(dir, null_log, losses);
}

/// What a directory holds before a merge.
void make_old(const std::string& dir) {
    make_dirs(dir + "/both/kept_dir");
    make_dirs(dir + "/hidden/sub");
    write_text(dir + "/both/changed", "old");
    write_text(dir + "/both/kept", "kept");
    write_text(dir + "/gone", "gone");
    write_text(dir + "/hidden/sub/f", "f");
}

} // namespace

TEST_SUITE("layer/staging") {

TEST_CASE("an absent directory: staged beside it, renamed into place") {
    const TempDir t;
    {
        Losses losses(null_log);
        const auto stage = open_stage(options_for(t / "d"), null_log, losses);
        fill_stage(*stage);
        CHECK_FALSE(exists(t / "d"));
        CHECK(names_in(t.path()).size() == 1);
        stage->publish("d1", {});
    }
    CHECK(names_in(t.path()) == std::set<std::string>{"d"});
    CHECK(content_of(t / "d/both/added") == "added");
    CHECK((stat_of(t / "d").st_mode & 07777) == 0711);
}

TEST_CASE("a stage that is not published leaves nothing") {
    const TempDir t;
    make_dirs(t / "m/lost+found");
    {
        Losses losses(null_log);
        const auto beside = open_stage(options_for(t / "d"), null_log, losses);
        const auto inside = open_stage(options_for(t / "m"), null_log, losses);
        fill_stage(*beside);
        fill_stage(*inside);
        CHECK(names_in(t / "m").size() == 2);
    }
    CHECK(names_in(t.path()) == std::set<std::string>{"m"});
    CHECK(names_in(t / "m") == std::set<std::string>{"lost+found"});
}

TEST_CASE("an empty directory keeps its mode where the layer has none") {
    const TempDir t;
    REQUIRE(::mkdir((t / "d").c_str(), 0700) == 0);
    REQUIRE(::chmod((t / "d").c_str(), 01733) == 0);
    Losses losses(null_log);
    open_stage(options_for(t / "d"), null_log, losses)->publish("d1", {""});
    CHECK((stat_of(t / "d").st_mode & 07777) == 01733);
    StageOptions fresh = options_for(t / "e");
    fresh.new_mode = 0705;
    open_stage(fresh, null_log, losses)->publish("d1", {""});
    CHECK((stat_of(t / "e").st_mode & 07777) == 0705);
}

TEST_CASE("refuses what it cannot fill") {
    const TempDir t;
    make_dirs(t / "full/x");
    write_text(t / "file", "");
    REQUIRE(::symlink("nowhere", (t / "dangling").c_str()) == 0);
    const auto kind = [&](const std::string& dir) {
        return error_of([&] { publish_layer(options_for(dir)); });
    };
    CHECK(kind(t / "full") == ErrorKind::exists);
    CHECK(kind(t / "file") == ErrorKind::exists);
    CHECK(kind(t / "dangling") == ErrorKind::exists);
    CHECK(kind(t / "no/parent") == ErrorKind::exists);
    CHECK(names_in(t / "full") == std::set<std::string>{"x"});
}

TEST_CASE("a symlink to a directory and a trailing slash are followed") {
    const TempDir t;
    make_dirs(t / "real");
    REQUIRE(::symlink("real", (t / "link").c_str()) == 0);
    publish_layer(options_for(t / "link/"));
    CHECK(content_of(t / "real/new") == "new");
    CHECK(S_ISLNK(stat_of(t / "link").st_mode));
    publish_layer(options_for(t / "fresh/"));
    CHECK(content_of(t / "fresh/new") == "new");
}

TEST_CASE("nothing is inherited from where the stage stands") {
    const TempDir t;
    REQUIRE(::chmod(t.path().c_str(), 02777) == 0);
    Losses losses(null_log);
    const auto stage = open_stage(options_for(t / "d"), null_log, losses);
    struct stat st{};
    REQUIRE(::fstat(stage->root(), &st) == 0);
    CHECK((st.st_mode & 07777) == 0700);
}

TEST_CASE("dead stages are swept, living ones are not") {
    const TempDir t;
    make_dirs(t / ".d.zl-unpack-dead0000/sub");
    make_dirs(t / ".e.zl-unpack-dead0000");
    Losses losses(null_log);
    const auto living = open_stage(options_for(t / "d"), null_log, losses);
    fill_stage(*living);
    publish_layer(options_for(t / "d"));
    CHECK_FALSE(exists(t / ".d.zl-unpack-dead0000"));
    CHECK(exists(t / ".e.zl-unpack-dead0000"));
    // The slower of two runs finds the directory filled.
    CHECK(error_of([&] { living->publish("d1", {}); }) == ErrorKind::exists);
}

TEST_CASE("two runs inside one directory: the second is told to come back") {
    const TempDir t;
    make_dirs(t / "m/lost+found");
    Losses losses(null_log);
    const auto first = open_stage(options_for(t / "m"), null_log, losses);
    CHECK(error_of([&] { publish_layer(options_for(t / "m")); }) == ErrorKind::transient);
    fill_stage(*first);
    first->publish("d1", {});
    CHECK(content_of(t / "m/new") == "new");
}

TEST_CASE("merge: directories are merged, files replaced, links not followed") {
    const TempDir t;
    make_old(t / "d");
    make_dirs(t / "outside/deep");
    REQUIRE(::symlink("../outside", (t / "d/dir").c_str()) == 0);
    publish_layer(options_for(t / "d", true));
    CHECK(content_of(t / "d/both/changed") == "layer");
    CHECK(content_of(t / "d/both/kept") == "kept");
    CHECK(content_of(t / "d/gone") == "gone");
    CHECK(content_of(t / "d/dir/deep/f") == "f");
    CHECK(names_in(t / "outside/deep").empty());
    CHECK((stat_of(t / "d/both").st_mode & 07777) == 0750);
    CHECK((stat_of(t / "d").st_mode & 07777) == 0711);
    CHECK_FALSE(exists(t / "d/.zl-unpack"));
    CHECK_FALSE(is_incomplete(t / "d"));
}

TEST_CASE("merge: a file does not replace a directory that holds something") {
    const TempDir t;
    make_dirs(t / "d/new/precious");
    make_dirs(t / "d/zzz");
    const auto before = snapshot(t / "d");
    CHECK(error_of([&] { publish_layer(options_for(t / "d", true)); }) == ErrorKind::exists);
    CHECK(snapshot(t / "d") == before);
    publish_layer(options_for(t / "d", true, WhiteoutMode::apply)); // there the layer's word counts
    CHECK(content_of(t / "d/new") == "new");
}

TEST_CASE("merge with apply deletes, before anything is moved in") {
    const TempDir t;
    make_old(t / "d");
    make_dirs(t / "outside");
    write_text(t / "outside/f", "f");
    REQUIRE(::symlink("../outside", (t / "d/link").c_str()) == 0);
    publish_layer(options_for(t / "d", true, WhiteoutMode::apply),
                  {{"gone", false},
                   {"hidden", true},
                   {"both", true},
                   {"new", false},
                   {"link/f", false},
                   {"nothing/here", false}});
    CHECK_FALSE(exists(t / "d/gone"));
    CHECK(names_in(t / "d/hidden").empty());
    CHECK(names_in(t / "d/both") == std::set<std::string>{"added", "changed"});
    CHECK(content_of(t / "d/new") == "new");
    CHECK(content_of(t / "outside/f") == "f");
}

TEST_CASE("merge with apply: an opaque directory whose subdirectory is on both sides") {
    const TempDir t;
    make_dirs(t / "d/dir/deep/old");
    publish_layer(options_for(t / "d", true, WhiteoutMode::apply), {{"dir", true}});
    CHECK(names_in(t / "d/dir/deep") == std::set<std::string>{"f"});
}

TEST_CASE("merge of overlays: a directory over a whiteout is opaque") {
    const TempDir t;
    make_dirs(t / "d");
    REQUIRE(::mknod((t / "d/dir").c_str(), S_IFCHR, 0) == 0);
    if (error_of([&] { publish_layer(options_for(t / "d", true)); }) == ErrorKind::denied)
        return;
    CHECK(xattr_of(t / "d/dir", is_root() ? "trusted.overlay.opaque" : "user.overlay.opaque") ==
          "y");
    CHECK(content_of(t / "d/dir/deep/f") == "f");
}

TEST_CASE("reserved names are refused where they would be in the way") {
    const TempDir t;
    make_dirs(t / "d/x");
    Losses losses(null_log);
    const auto stage = open_stage(options_for(t / "d", true), null_log, losses);
    write_text("/proc/self/fd/" + std::to_string(stage->root()) + "/.zl-incomplete", "x");
    CHECK(error_of([&] { stage->publish("d1", {}); }) == ErrorKind::data);
}

TEST_CASE("the journal is read back, and truncated or foreign ones are refused") {
    const TempDir t;
    make_dirs(t / "d/s");
    const UniqueFd dir(::open((t / "d").c_str(), O_RDONLY | O_DIRECTORY));
    const UniqueFd stage(::open((t / "d/s").c_str(), O_RDONLY | O_DIRECTORY));
    Journal j;
    j.state = Journal::State::deleting;
    j.digest = "abc";
    j.whiteouts = WhiteoutMode::apply;
    j.mtime = -5;
    j.mtime_ns = 7;
    write_journal(dir.get(), stage.get(), j);
    const auto back = read_journal(dir.get());
    REQUIRE(back);
    CHECK(back->state == j.state);
    CHECK(back->digest == j.digest);
    CHECK(back->whiteouts == j.whiteouts);
    CHECK(back->mtime == j.mtime);
    CHECK(back->mtime_ns == 7);
    CHECK(is_incomplete(t / "d"));
    const std::string text = content_of(t / "d/.zl-incomplete");
    for (std::size_t n = 0; n + 1 < text.size(); ++n) { // without the line feed it is whole
        write_text(t / "d/.zl-incomplete", text.substr(0, n));
        CHECK(error_of([&] { read_journal(dir.get()); }) == ErrorKind::data);
    }
    const std::vector<Fixup> fixups = {{true, 0755, -1, 5, ""}, {false, 0, 9, 0, "a b/\n"}};
    write_fixups(stage.get(), fixups);
    const auto again = read_fixups(stage.get());
    REQUIRE(again.size() == 2);
    CHECK(again[1].path == "a b/\n");
    CHECK(again[0].mtime == -1);
    write_deletions(stage.get(), {{"x y", false}, {"", true}});
    CHECK(read_deletions(stage.get())[1].opaque);
    const std::string list = content_of(t / "d/s/fixups");
    for (std::size_t n = 0; n < list.size(); ++n) {
        write_text(t / "d/s/fixups", list.substr(0, n));
        const auto kind = error_of([&] { read_fixups(stage.get()); });
        CHECK((kind == ErrorKind::data || list[n == 0 ? 0 : n - 1] == '\0' || n == 0));
    }
    write_text(t / "d/s/deletions", std::string("w ../x\0", 7));
    CHECK(error_of([&] { read_deletions(stage.get()); }) == ErrorKind::data);
}

TEST_CASE("a journal whose stage is gone cannot be finished") {
    const TempDir t;
    make_dirs(t / "d/s");
    const UniqueFd dir(::open((t / "d").c_str(), O_RDONLY | O_DIRECTORY));
    const UniqueFd stage(::open((t / "d/s").c_str(), O_RDONLY | O_DIRECTORY));
    Journal j;
    write_journal(dir.get(), stage.get(), j);
    CHECK(error_of([&] { finish(t / "d"); }) == ErrorKind::data);
    CHECK(is_incomplete(t / "d"));
    j.state = Journal::State::moved;
    write_journal(dir.get(), stage.get(), j);
    finish(t / "d");
    CHECK_FALSE(is_incomplete(t / "d"));
}

TEST_CASE("is_incomplete of a directory that does not exist") {
    CHECK(error_of([] { is_incomplete("/nonexistent/dir"); }) == ErrorKind::not_found);
}

#ifdef ZL_CRASH_POINTS

namespace {

/// Runs @p fn in a child that dies at @p point. False: it was not reached.
bool crash_at(const std::string& point, const std::function<void()>& fn) {
    const pid_t child = ::fork();
    if (child == 0) {
        ::setenv("ZL_CRASH_AT", point.c_str(), 1);
        try {
            fn();
        } catch (...) {
            ::_exit(99);
        }
        ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    REQUIRE((WIFSIGNALED(status) || WEXITSTATUS(status) == 0));
    return WIFSIGNALED(status);
}

} // namespace

TEST_CASE("killed beside: as before or complete, and the next run succeeds") {
    for (const std::string point : {"unpack.filled", "unpack.staged", "unpack.renamed"}) {
        CAPTURE(point);
        const TempDir t;
        REQUIRE(crash_at(point, [&] { publish_layer(options_for(t / "d")); }));
        CHECK(exists(t / "d") == (point == "unpack.renamed"));
        if (exists(t / "d"))
            CHECK(content_of(t / "d/dir/deep/f") == "f");
        else
            publish_layer(options_for(t / "d"));
        CHECK(content_of(t / "d/dir/deep/f") == "f");
        CHECK(names_in(t.path()) == std::set<std::string>{"d"});
    }
}

TEST_CASE("killed inside: nothing changed, or finished by the next run") {
    const std::vector<Deletion> deletions = {
        {"gone", false}, {"hidden", true}, {"both", true}, {"new", false}};
    const TempDir reference;
    make_old(reference / "d");
    const auto options = [](const TempDir& t) {
        return options_for(t / "d", true, WhiteoutMode::apply);
    };
    const auto before = snapshot(reference / "d");
    publish_layer(options(reference), deletions);
    const auto after = snapshot(reference / "d");
    std::vector<std::string> points = {"unpack.filled",  "unpack.staged", "unpack.journal",
                                       "unpack.deleted", "unpack.fixed",  "unpack.moved",
                                       "unpack.cleaned"};
    for (int i = 1; i <= 4; ++i)
        points.push_back("unpack.moved_one:" + std::to_string(i));
    for (const auto& point : points) {
        CAPTURE(point);
        const TempDir t;
        make_old(t / "d");
        REQUIRE(crash_at(point, [&] { publish_layer(options(t), deletions); }));
        const bool decided = is_incomplete(t / "d");
        CHECK(decided == (point != "unpack.filled" && point != "unpack.staged"));
        if (decided) {
            // Killed again while finishing, at every point that comes then.
            for (const auto& again : points)
                crash_at(again, [&] { finish(t / "d"); });
            finish(t / "d");
        } else {
            auto now = snapshot(t / "d");
            std::erase_if(now, [](const auto& p) { return p.first.starts_with(".zl-unpack"); });
            CHECK(now == before);
            publish_layer(options(t), deletions);
        }
        CHECK(snapshot(t / "d") == after);
        CHECK((stat_of(t / "d").st_mode & 07777) == 0711);
        CHECK((stat_of(t / "d/both").st_mode & 07777) == 0750);
    }
}

#endif

} // TEST_SUITE
