#include "../temp_dir.hpp"
#include "base/file.hpp"
#include "state/state_db.hpp"

#include <doctest/doctest.h>

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <vector>

using namespace zl;

namespace {

using test::TempDir;

PushRow sample() {
    PushRow r;
    r.store_url = "file:///s";
    r.store = "file:///s";
    r.prefix = "layers/";
    r.name = "web/1";
    r.kind = "layer";
    r.state = "spooling";
    r.spool = "/spool/1";
    r.blob_size = 1ull << 45;
    r.tags = "{\"a\":\"b\"}";
    return r;
}

} // namespace

TEST_SUITE("state/state_db") {
    TEST_CASE("rows come back as written, after reopening too") {
        TempDir dir;
        std::int64_t id;
        {
            StateDb db(dir / "s.db");
            PushRow r = sample();
            id = r.id = db.insert_push(r);
            r.state = "uploading";
            r.upload_id = "u1";
            r.incomplete = r.force = true;
            r.ref_time = "20261122T060000.000Z";
            db.update_push(r);
            db.record_part(id, {1, 5 << 20, "e1"});
            db.record_part(id, {2, 5 << 20, "e2"});
            db.record_part(id, {2, 6, "e3"});
            db.add_suspect({"s", "k", "u"});
            db.add_suspect({"s", "k", "u"});
            db.set_fact("s", "f", "1");
        }
        StateDb db(dir / "s.db");
        auto r = db.find_push(id);
        REQUIRE(r);
        CHECK(r->state == "uploading");
        CHECK(r->upload_id == "u1");
        CHECK(r->blob_size == 1ull << 45);
        CHECK(r->incomplete);
        CHECK(r->force);
        CHECK(r->tags == "{\"a\":\"b\"}");
        CHECK(r->ref_time == "20261122T060000.000Z");
        auto parts = db.parts(id);
        REQUIRE(parts.size() == 2);
        CHECK(parts[2].size == 6);
        CHECK(parts[2].etag == "e3");
        CHECK(db.suspects("s").size() == 1);
        CHECK(db.fact("s", "f") == "1");
        CHECK_FALSE(db.fact("t", "f"));
        db.delete_push(id);
        CHECK(db.pushes().empty());
        CHECK(db.parts(id).empty());
    }

    TEST_CASE("is private, whatever the umask") {
        TempDir dir;
        StateDb db(dir / "s.db");
        auto mode = std::filesystem::status(dir / "s.db").permissions();
        CHECK((mode & std::filesystem::perms::others_all) == std::filesystem::perms::none);
        CHECK((mode & std::filesystem::perms::group_all) == std::filesystem::perms::none);
    }

    TEST_CASE("several processes may be the first") {
        int failed = 0;
        for (int round = 0; round < 60; ++round) {
            TempDir dir;
            int gate[2];
            REQUIRE(::pipe(gate) == 0);
            std::vector<pid_t> children;
            for (int i = 0; i < 6; ++i) {
                children.push_back(::fork());
                if (children.back() != 0)
                    continue;
                int code = 1;
                try {
                    char c;
                    ::close(gate[1]);
                    PushRow row = sample();
                    row.spool += std::to_string(i);
                    if (::read(gate[0], &c, 1) == 0)
                        StateDb(dir / "s.db").insert_push(row);
                    code = 0;
                } catch (const std::exception&) {
                }
                ::_exit(code);
            }
            ::close(gate[0]);
            ::close(gate[1]); // go
            for (pid_t child : children) {
                int status = 1;
                ::waitpid(child, &status, 0);
                failed += status != 0;
            }
            CHECK(StateDb(dir / "s.db").pushes().size() == 6);
        }
        CHECK(failed == 0);
    }

    TEST_CASE("a file that is no database, or a newer one, is refused and left alone") {
        TempDir dir;
        std::string path = dir / "s.db";
        AtomicFile f(path);
        f.write(std::string(5000, 'x'));
        f.commit();
        try {
            StateDb db(path);
            FAIL("accepted");
        } catch (const Error& e) {
            CHECK(e.kind() == ErrorKind::data);
        }
        CHECK(read_file(path) == std::string(5000, 'x'));
        {
            Db db(dir / "n.db");
            db.exec("PRAGMA user_version = 99");
        }
        try {
            StateDb db(dir / "n.db");
            FAIL("accepted");
        } catch (const Error& e) {
            CHECK(e.kind() == ErrorKind::data);
        }
    }

    TEST_CASE("cut at any length it opens, or says why not, and never invents rows") {
        TempDir dir;
        std::string path = dir / "s.db";
        {
            StateDb db(path);
            PushRow r = sample();
            db.insert_push(r);
        }
        std::string whole = *read_file(path);
        for (std::size_t n = 0; n < whole.size(); n += 509) {
            std::string cut = dir / "cut.db";
            std::filesystem::remove(cut + "-wal");
            std::filesystem::remove(cut + "-shm");
            AtomicFile f(cut);
            f.write(std::string_view(whole).substr(0, n));
            f.commit();
            try {
                StateDb db(cut);
                for (const PushRow& r : db.pushes())
                    CHECK(r.spool == "/spool/1");
            } catch (const Error& e) {
                CHECK((e.kind() == ErrorKind::data || e.kind() == ErrorKind::io));
            }
        }
    }
}
