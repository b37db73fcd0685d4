#include "layer/entry_marks.hpp"
#include "layer/overlay_marks.hpp"

#include <doctest/doctest.h>

#include <sys/stat.h>

using namespace zl;

TEST_SUITE("layer/overlay_marks") {

    TEST_CASE("whiteout names and back") {
        CHECK(make_wh_name("a") == ".wh.a");
        CHECK(wh_target(".wh.a") == "a");
        CHECK(wh_target(".wh..hidden") == ".hidden");
        for (const char* bad : {"a", "wh.a", ".wh", ".wh.", ".wh..", ".wh...", ".wh..wh..opq",
                                ".wh..wh.plnk", ".wh.a/b"}) {
            CAPTURE(bad);
            CHECK(!wh_target(bad));
        }
        CHECK(is_wh_name(kOpaqueName));
        CHECK(!is_wh_name(".wha"));
    }

    TEST_CASE("only character device 0:0 is a whiteout") {
        CHECK(is_whiteout_device(S_IFCHR, 0, 0));
        CHECK(is_whiteout_device(S_IFCHR | 0600, 0, 0));
        CHECK(!is_whiteout_device(S_IFCHR, 0, 1));
        CHECK(!is_whiteout_device(S_IFCHR, 1, 0));
        CHECK(!is_whiteout_device(S_IFBLK, 0, 0));
        CHECK(!is_whiteout_device(S_IFREG, 0, 0));
    }

    TEST_CASE("classification of xattr names") {
        using X = OverlayXattr;
        CHECK(classify_overlay_xattr("trusted.overlay.opaque") == X::opaque);
        CHECK(classify_overlay_xattr("user.overlay.whiteout") == X::whiteout);
        CHECK(classify_overlay_xattr("trusted.overlay.redirect") == X::redirect);
        CHECK(classify_overlay_xattr("user.overlay.metacopy") == X::metacopy);
        for (const char* host : {"origin", "impure", "nlink", "uuid", "upper"})
            CHECK(classify_overlay_xattr(overlay_xattr_name(false, host)) == X::host);
        CHECK(classify_overlay_xattr("trusted.overlay.protattr") == X::other);
        CHECK(classify_overlay_xattr("trusted.overlay.overlay.opaque") == X::escaped);
        CHECK(classify_overlay_xattr("trusted.overlay") == X::none);
        CHECK(classify_overlay_xattr("trusted.overlayfs.opaque") == X::none);
        CHECK(classify_overlay_xattr("security.overlay.opaque") == X::none);
    }

    TEST_CASE("escaping adds a level, unescaping takes one away") {
        CHECK(escape_overlay_xattr("user.overlay.opaque") == "user.overlay.overlay.opaque");
        for (const char* name : {"trusted.overlay.opaque", "user.overlay.overlay.x"})
            CHECK(unescape_overlay_xattr(escape_overlay_xattr(name)) == name);
    }

    TEST_CASE("disk to tar and back, OCI form") {
        CHECK(overlay_xattr_to_tar("user.x", false) == "user.x");
        CHECK(!overlay_xattr_to_tar("trusted.overlay.opaque", false));
        CHECK(!overlay_xattr_to_tar("trusted.overlay.origin", false));
        CHECK(!overlay_xattr_to_tar("trusted.overlay.protattr", false));
        CHECK(overlay_xattr_to_tar("trusted.overlay.overlay.opaque", false) ==
              "trusted.overlay.opaque");
        CHECK(overlay_xattr_to_disk("trusted.overlay.opaque", false) ==
              "trusted.overlay.overlay.opaque");
        CHECK(overlay_xattr_to_disk("user.x", false) == "user.x");
    }

    TEST_CASE("disk to tar and back, overlay form") {
        CHECK(overlay_xattr_to_tar("trusted.overlay.opaque", true) == "trusted.overlay.opaque");
        CHECK(!overlay_xattr_to_tar("trusted.overlay.origin", true));
        CHECK(overlay_xattr_to_tar("user.overlay.overlay.opaque", true) ==
              "user.overlay.overlay.opaque");
        CHECK(overlay_xattr_to_disk("trusted.overlay.opaque", true) == "trusted.overlay.opaque");
    }

    TEST_CASE("what an entry's xattrs say") {
        EntryMarks m = read_marks({{"trusted.overlay.opaque", "y"}});
        CHECK(m.is_opaque);
        CHECK(!m.has_user_overlay);
        m = read_marks({{"user.overlay.opaque", "x"}, {"user.overlay.redirect", "/a"}});
        CHECK(!m.is_opaque);
        CHECK(m.has_xattr_whiteouts);
        CHECK(m.has_user_overlay);
        CHECK(m.redirect == "/a");
        m = read_marks({{"trusted.overlay.overlay.opaque", "y"}, {"user.other", ""}});
        CHECK(!m.is_opaque);
    }

    TEST_CASE("xattrs are sorted by the names they have in the tar") {
        const std::vector<Xattr> tar = xattrs_to_tar({{"trusted.b", "1"},
                                                      {"trusted.overlay.overlay.x", "2"},
                                                      {"trusted.overlay.redirect", "3"},
                                                      {"trusted.overlay.overlay.a", "4"}},
                                                     false);
        CHECK(tar == std::vector<Xattr>{{"trusted.b", "1"},
                                        {"trusted.overlay.a", "4"},
                                        {"trusted.overlay.x", "2"}});
    }

} // suite
