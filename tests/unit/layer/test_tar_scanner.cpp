#include "base/error.hpp"
#include "base/file.hpp"
#include "layer/tar_scanner.hpp"
#include "tar_builder.hpp"

#include <doctest/doctest.h>

using namespace zl;
using namespace zl::test;

namespace {

/// Entries of a whole tar; nullopt when it is refused.
std::optional<std::uint64_t> scan(const std::string& tar, std::size_t piece = SIZE_MAX) {
    try {
        TarScanner s;
        for (std::size_t at = 0; at < tar.size(); at += std::min(piece, tar.size() - at))
            s.write(as_bytes(tar).subspan(at, std::min(piece, tar.size() - at)));
        s.finish();
        return s.entries();
    } catch (const Error& e) {
        CHECK(e.kind() == ErrorKind::data);
        return std::nullopt;
    }
}

std::string file(std::size_t size, char fill = 'x') {
    RawHeader h;
    h.size = size;
    return h.block() + pad(std::string(size, fill));
}

const std::string kEnd(1024, '\0');

} // namespace

TEST_SUITE("layer/tar_scanner") {
    TEST_CASE("counts entries, in any pieces, padded to any record size") {
        RawHeader dir{.name = "d/", .type = '5'};
        std::string tar = dir.block() + file(0) + file(1) + file(512) + file(5000);
        for (std::size_t piece : {std::size_t{1}, std::size_t{511}, std::size_t{10240}})
            CHECK(scan(tar + kEnd, piece) == 5);
        CHECK(scan(tar + kEnd + std::string(8192, '\0')) == 5);
        CHECK(scan(kEnd) == 0);
    }

    TEST_CASE("every cut is refused, also where all before it are zeros") {
        // The last file's content looks like the end of a tar.
        std::string tar = file(700) + file(4096, '\0') + kEnd;
        REQUIRE(scan(tar) == 2);
        for (std::size_t n = 0; n < tar.size(); ++n)
            CHECK_MESSAGE(!scan(tar.substr(0, n)), n);
    }

    TEST_CASE("extended headers: their sizes count, they are no entries") {
        RawHeader pax{.name = "PaxHeaders/f", .type = 'x'};
        std::string records = record("path", "f") + record("size", "1500");
        pax.size = records.size();
        RawHeader zero; // the true size is in the pax header only
        std::string tar = pax.block() + pad(records) + zero.block() + pad(std::string(1500, 'y'));
        CHECK(scan(tar + kEnd) == 1);
        CHECK(scan(tar + kEnd, 7) == 1);
        RawHeader longname{.name = "././@LongLink", .type = 'L', .size = 300};
        CHECK(scan(longname.block() + pad(std::string(300, 'n')) + file(3) + kEnd) == 1);
        pax.size = 5;
        CHECK_FALSE(scan(pax.block() + pad("99 x\n") + file(0) + kEnd));
    }

    TEST_CASE("GNU sparse extension blocks come before the content") {
        RawHeader sparse{.name = "s", .type = 'S', .size = 512};
        std::string header = sparse.block();
        header[482] = 1;
        std::string sum = "        ";
        header.replace(148, 8, sum);
        unsigned total = 0;
        for (char c : header)
            total += static_cast<unsigned char>(c);
        char octal[8];
        std::snprintf(octal, sizeof octal, "%06o", total);
        header.replace(148, 7, std::string(octal, 7));
        std::string extension(512, '\0');
        extension[504] = 1;
        std::string last(512, '\0');
        CHECK(scan(header + extension + last + std::string(512, 'c') + file(1) + kEnd) == 2);
    }

    TEST_CASE("what is no tar, or goes on after its end, is refused") {
        CHECK_FALSE(scan(std::string(2048, 'x')));
        RawHeader bad;
        bad.good_checksum = false;
        CHECK_FALSE(scan(bad.block() + kEnd));
        CHECK_FALSE(scan(file(1) + kEnd + file(1) + kEnd));
        CHECK_FALSE(scan(file(1) + std::string(512, '\0')));
        CHECK_FALSE(scan(file(1) + std::string(512, '\0') + file(1) + kEnd));
        CHECK_FALSE(scan(""));
    }
}
