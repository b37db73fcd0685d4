#include "layer/pax_records.hpp"
#include "layer/posix_acl.hpp"
#include "layer/tar_writer.hpp"
#include "stream/hash.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace zl;

namespace {

std::string header_bytes(const TarHeader& h) {
    std::string out;
    append_tar_header(out, h);
    return out;
}

/// A NUL-terminated field.
std::string field(const std::string& block, std::size_t at, std::size_t size) {
    return std::string(block.substr(at, size).c_str());
}

std::string octal(std::uint64_t value, int digits) {
    std::string out;
    for (int i = 0; i < digits; ++i, value /= 8)
        out.insert(out.begin(), static_cast<char>('0' + value % 8));
    return out;
}

/// The block written out by hand, from the offsets in POSIX.
std::string golden(const std::string& name, char type, const std::string& mode,
                   const std::string& size, const std::string& mtime) {
    std::string b(512, '\0');
    b.replace(0, name.size(), name);
    b.replace(100, 7, mode);
    b.replace(108, 7, "0001750");
    b.replace(116, 7, "0000144");
    b.replace(124, 11, size);
    b.replace(136, 11, mtime);
    b.replace(148, 8, "        ");
    b[156] = type;
    b.replace(257, 8,
              std::string("ustar\0"
                          "00",
                          8));
    b.replace(329, 7, "0000000");
    b.replace(337, 7, "0000000");
    unsigned sum = 0;
    for (const char c : b)
        sum += static_cast<unsigned char>(c);
    b.replace(148, 8, octal(sum, 6) + std::string("\0 ", 2));
    return b;
}

TarHeader plain_file(std::string path) {
    TarHeader h;
    h.path = std::move(path);
    h.mode = 0644;
    h.uid = 1000;
    h.gid = 100;
    h.size = 5;
    h.mtime = 1700000000;
    return h;
}

/// The pax records in front of the header, each as `KEY=VALUE` with a LF.
std::string records(const TarHeader& h) {
    const std::string bytes = header_bytes(h);
    if (bytes[156] != 'x')
        return {};
    std::size_t size = std::stoul(field(bytes, 124, 12), nullptr, 8);
    std::string out, pax = bytes.substr(512, size);
    while (!pax.empty()) {
        const std::size_t n = std::stoul(pax), space = pax.find(' ');
        REQUIRE(n <= pax.size());
        REQUIRE(pax[n - 1] == '\n');
        out += pax.substr(space + 1, n - space - 1);
        pax.erase(0, n);
    }
    return out;
}

} // namespace

TEST_SUITE("layer/tar_writer") {

    TEST_CASE("a plain file is one ustar header with fixed fields") {
        CHECK(header_bytes(plain_file("dir/name")) ==
              golden("dir/name", '0', "0000644", "00000000005", "14524770400"));
    }

    TEST_CASE("mode keeps setuid, setgid and sticky, and no file type") {
        TarHeader h = plain_file("f");
        h.mode = 0104755;
        CHECK(field(header_bytes(h), 100, 8) == "0004755");
    }

    TEST_CASE("a name of up to 100 bytes stays in name, a longer one is split at a slash") {
        TarHeader h = plain_file(std::string(100, 'a'));
        CHECK(records(h).empty());
        CHECK(header_bytes(h).substr(0, 100) == h.path);
        h.path = std::string(100, 'd') + "/" + std::string(100, 'n');
        CHECK(records(h).empty());
        CHECK(field(header_bytes(h), 345, 155) == std::string(100, 'd'));
        CHECK(header_bytes(h).substr(0, 100) == std::string(100, 'n'));
    }

    TEST_CASE("a name without a place to split goes into a pax record") {
        for (const std::string& path :
             {std::string(101, 'a'), std::string(156, 'd') + "/n" + std::string(99, 'n'),
              "d/" + std::string(101, 'n'), std::string(100, 'd') + "/"}) {
            CAPTURE(path);
            const TarHeader h = plain_file(path);
            CHECK(records(h) == "path=" + path + "\n");
            CHECK(header_bytes(h).substr(1024, 100) == path.substr(0, 100));
        }
    }

    TEST_CASE("the extended header's own fields are constant") {
        TarHeader h = plain_file(std::string(101, 'a'));
        std::string x = header_bytes(h).substr(0, 512);
        CHECK(field(x, 0, 100) == "PaxHeaders/0");
        CHECK(field(x, 100, 8) == "0000644");
        CHECK(field(x, 108, 8) == "0000000");
        CHECK(field(x, 136, 12) == "00000000000");
        CHECK(header_bytes(h).size() == 3 * 512);
    }

    TEST_CASE("numbers that ustar cannot hold go into records, never as 0 into the field") {
        TarHeader h = plain_file("f");
        h.uid = 3000000000;
        h.gid = 2097152;
        h.size = 8589934592;
        CHECK(records(h) == "size=8589934592\nuid=3000000000\ngid=2097152\n");
        CHECK(field(header_bytes(h).substr(1024), 108, 8) == "7777777");
        CHECK(field(header_bytes(h).substr(1024), 116, 8) == "7777777");
        h.uid = h.gid = 2097151;
        h.size = 8589934591;
        CHECK(records(h).empty());
    }

    TEST_CASE("times with a fraction, before 1970 or after 2242 go into a record") {
        TarHeader h = plain_file("f");
        h.mtime_ns = 120000000;
        CHECK(records(h) == "mtime=1700000000.12\n");
        h.mtime = -2;
        h.mtime_ns = 500000000;
        CHECK(records(h) == "mtime=-1.5\n");
        h.mtime_ns = 0;
        CHECK(records(h) == "mtime=-2\n");
        h.mtime = 8589934592;
        CHECK(records(h) == "mtime=8589934592\n");
        h.mtime = 8589934591;
        CHECK(records(h).empty());
    }

    TEST_CASE("records come in one order, xattrs last and raw") {
        TarHeader h = plain_file(std::string(101, 'a'));
        h.comment = "c";
        h.type = TarType::hardlink;
        h.link = std::string(101, 'l');
        h.uid = 3000000000;
        h.mtime_ns = 1;
        h.xattrs = {
            {"system.posix_acl_access", std::string("\2\0\0\0\1\0\6\0\xff\xff\xff\xff", 12)},
            {"user.a=b", std::string("x\0\n=", 4)}};
        CHECK(records(h) == "comment=c\npath=" + h.path + "\nlinkpath=" + h.link +
                                "\nuid=3000000000\nmtime=1700000000.000000001\n" +
                                "SCHILY.acl.access=user::rw-\n\n" +
                                "SCHILY.xattr.system.posix_acl_access=" + h.xattrs[0].value + "\n" +
                                "SCHILY.xattr.user.a%3Db=" + h.xattrs[1].value + "\n");
    }

    TEST_CASE("a sparse entry hides its map from readers that do not know the format") {
        TarHeader h = plain_file("dir/" + std::string(90, 'n'));
        h.sparse_size = 1048576;
        CHECK(records(h) == "GNU.sparse.major=1\nGNU.sparse.minor=0\nGNU.sparse.name=" + h.path +
                                "\nGNU.sparse.realsize=1048576\n");
        CHECK(header_bytes(h).substr(1024, 100) == "GNUSparseFile.0/" + std::string(84, 'n'));
    }

    TEST_CASE("device numbers") {
        TarHeader h = plain_file("dev");
        h.type = TarType::char_device;
        h.dev_major = 4095;
        h.dev_minor = 1048575;
        CHECK(field(header_bytes(h), 329, 8) == "0007777");
        CHECK(field(header_bytes(h), 337, 8) == "3777777");
    }

} // suite

TEST_SUITE("layer/pax_records") {

    TEST_CASE("the length counts its own digits") {
        std::string out;
        append_pax_record(out, "k", "");
        CHECK(out == "5 k=\n");
        for (std::size_t n = 1; n < 1200; ++n) {
            std::string one;
            append_pax_record(one, "key", std::string(n, 'v'));
            REQUIRE(std::stoul(one) == one.size());
        }
    }

    TEST_CASE("xattr names: '=' and what looks like an escape are escaped, all else is raw") {
        CHECK(encode_xattr_name("user.a=b") == "user.a%3Db");
        CHECK(encode_xattr_name("user.p%41 \xff") == "user.p%41 \xff");
        CHECK(encode_xattr_name("user.%3D%25%") == "user.%253D%2525%");
        for (const std::string name : {"a", "=", "%", "%=", "%%25", "%2", "%25", "%3D", "%3d",
                                       "%2=5", "100%", "%25%3D=%", "%253D"}) {
            CAPTURE(name);
            CHECK(decode_xattr_name(encode_xattr_name(name)) == name);
        }
    }

    TEST_CASE("times are exact decimals") {
        CHECK(format_pax_time(0, 0) == "0");
        CHECK(format_pax_time(1, 1) == "1.000000001");
        CHECK(format_pax_time(-1, 500000000) == "-0.5");
        CHECK(format_pax_time(-2, 999999999) == "-1.000000001");
        CHECK(format_pax_time(INT64_MIN, 0) == "-9223372036854775808");
    }

    TEST_CASE("ACL text has numeric ids, above 2^31 too") {
        const std::string acl("\2\0\0\0"
                              "\1\0\6\0\xff\xff\xff\xff"
                              "\2\0\1\0\0\x28\x6b\xee"
                              "\4\0\4\0\xff\xff\xff\xff"
                              "\x08\0\4\0\x4d\0\0\0"
                              "\x10\0\7\0\xff\xff\xff\xff"
                              "\x20\0\0\0\xff\xff\xff\xff",
                              52);
        CHECK(posix_acl_text(acl) == "user::rw-\nuser:4000000000:--x\ngroup::r--\ngroup:77:r--\n"
                                     "mask::rwx\nother::---\n");
        CHECK(!posix_acl_text(acl.substr(0, 51)));
        CHECK(!posix_acl_text(std::string("\3\0\0\0", 4)));
        CHECK(!posix_acl_text(std::string("\2\0\0\0\3\0\7\0\0\0\0\0", 12)));
    }

} // suite
