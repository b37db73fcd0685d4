#include "layer/tar_reader.hpp"

#include "base/error.hpp"
#include "base/file.hpp"
#include "layer/pax_parse.hpp"
#include "layer/tar_header.hpp"

#include <algorithm>
#include <cstring>

namespace zl {

namespace {

/// A piece of content never crosses a multiple of this (of the file) unless it begins there, so that
/// zero pages can be told from the pieces alone.
constexpr std::size_t kPage = 4096;
constexpr std::size_t kBuffer = 1 << 20;

} // namespace

TarReader::TarReader(Source& in) : in_(in), buffer_(kBuffer) {}
TarReader::~TarReader() = default;

/// At least one byte and at most @p n, from the buffer; empty at the end of the source. n <= kBuffer.
/// Gives all @p n unless the source ends before.
Bytes TarReader::need(std::size_t n) {
    if (end_ - begin_ < n && !source_ended_) {
        std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
        end_ -= begin_;
        begin_ = 0;
        while (end_ < n) {
            const std::size_t got = in_.read(std::span(buffer_).subspan(end_));
            if (got == 0) {
                source_ended_ = true;
                break;
            }
            end_ += got;
        }
    }
    return Bytes(buffer_).subspan(begin_, std::min(n, end_ - begin_));
}

bool TarReader::at_end() {
    return need(1).empty();
}

/// False at the two zero blocks.
bool TarReader::read_header(HeaderBlock& h) {
    Bytes raw = need(kTarBlock);
    if (raw.size() < kTarBlock)
        throw Error(ErrorKind::data, "truncated tar: it ends without its two zero blocks");
    std::string_view block = as_text(raw);
    if (block.find_first_not_of('\0') == std::string_view::npos) {
        consume(kTarBlock);
        raw = need(kTarBlock);
        if (raw.size() < kTarBlock ||
            as_text(raw).find_first_not_of('\0') != std::string_view::npos)
            malformed_tar("a single zero block");
        consume(kTarBlock);
        if (!at_end())
            malformed_tar("data after its end");
        return false;
    }
    h = parse_header_block(block);
    consume(kTarBlock);
    return true;
}

/// The content of an extended header.
std::string TarReader::read_small(std::uint64_t size, const char* what) {
    if (size > kMaxPaxHeader)
        malformed_tar(std::string(what) + " of " + std::to_string(size) + " bytes, at most " +
                      std::to_string(kMaxPaxHeader));
    std::string text;
    for (std::uint64_t left = size + tar_padding(size); left > 0;) {
        const Bytes got = need(static_cast<std::size_t>(std::min<std::uint64_t>(left, 64 << 10)));
        if (got.empty())
            throw Error(ErrorKind::data, std::string("truncated tar: it ends in a ") + what);
        text.append(as_text(got));
        consume(got.size());
        left -= got.size();
    }
    text.resize(static_cast<std::size_t>(size));
    return text;
}

/// Extended headers up to, and including, the header of the entry itself.
void TarReader::read_extended(HeaderBlock& h, ExtendedHeader& ext) {
    for (;;) {
        if (h.type == 'x') {
            if (ext.pax)
                malformed_tar("two extended headers for one entry");
            const std::string text = read_small(h.size, "pax header");
            for (const auto& record : parse_pax_records(text))
                ext.take(record);
            ext.pax = true;
        } else if (h.type == 'g') {
            // One that changed later entries would make their meaning depend on the reader.
            const std::string text = read_small(h.size, "global pax header");
            for (const auto& record : parse_pax_records(text))
                if (record.key != "comment")
                    malformed_tar("global pax header with '" + show_path(record.key) + "'");
        } else if ((h.type == 'L' || h.type == 'K') && h.gnu) {
            std::string text = read_small(h.size, "long name");
            if (text.ends_with('\0'))
                text.pop_back();
            auto& target = h.type == 'L' ? ext.path : ext.link;
            if (target)
                malformed_tar("two long names for one entry");
            target = std::move(text);
        } else {
            return;
        }
        if (!read_header(h))
            malformed_tar("an extended header without its entry");
    }
}

void TarReader::fill_entry(const HeaderBlock& h, ExtendedHeader& ext, TarEntry& e) {
    e = make_tar_entry(h, ext);
    // Pax beats ustar; but where ustar could have said it, two different sizes are two archives.
    const std::uint64_t stored = ext.size.value_or(h.size);
    if (stored != h.size && stored <= kMaxOctalSize)
        malformed_tar("'" + show_path(e.path) + "' has two sizes");
    if (e.type != EntryType::file && stored != 0)
        malformed_tar("'" + show_path(e.path) + "' has content but is no file");
    padding_ = tar_padding(stored);
    if (ext.is_sparse()) {
        e.size = *ext.sparse_size;
        read_sparse_map(stored, e.size);
    } else if (stored > 0) {
        e.size = stored;
        extents_.push_back({0, stored});
    }
}

/// Decimal numbers, one a line: count, then offset and size of each extent; padded to a block.
void TarReader::read_sparse_map(std::uint64_t stored, std::uint64_t real) {
    std::uint64_t map_bytes = 0;
    const auto number = [&](const char* what) {
        std::string digits;
        for (;;) {
            const Bytes b = map_bytes < stored ? need(1) : Bytes();
            if (b.empty() || digits.size() > 20)
                malformed_tar("sparse map");
            ++map_bytes;
            const char c = as_text(b)[0];
            consume(1);
            if (c == '\n')
                return parse_pax_number(digits, kMaxTarSize, what);
            digits += c;
        }
    };
    const std::uint64_t count = number("sparse count");
    if (count > kMaxSparseExtents || count > stored / 4 + 1)
        malformed_tar("sparse map of " + std::to_string(count) + " extents");
    std::uint64_t end = 0;
    std::uint64_t content = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        const Extent extent{number("sparse offset"), number("sparse extent")};
        if (extent.offset < end || extent.offset > real || extent.size > real - extent.offset)
            malformed_tar("sparse extents that overlap or lead out of the file");
        end = extent.offset + extent.size;
        content += extent.size;
        if (extent.size > 0)
            extents_.push_back(extent);
    }
    for (; map_bytes % kTarBlock != 0; ++map_bytes) {
        const Bytes b = need(1);
        if (b.empty() || b[0] != std::byte{0})
            malformed_tar("sparse map padding");
        consume(1);
    }
    if (map_bytes > stored || content != stored - map_bytes)
        malformed_tar("sparse map that does not match the stored size");
}

std::optional<EntryReader::Piece> TarReader::read() {
    if (extent_ == extents_.size())
        return std::nullopt;
    const Extent& extent = extents_[extent_];
    const std::uint64_t left = extent.size - in_extent_;
    const std::uint64_t offset = extent.offset + in_extent_;
    // As much as there is, but at least up to the next page boundary, and ending on one.
    const std::size_t to_page = kPage - offset % kPage;
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(left, to_page));
    Bytes data = need(wanted);
    if (data.size() < wanted)
        throw Error(ErrorKind::data, "truncated tar: it ends in the content of a file");
    std::size_t size = static_cast<std::size_t>(
        std::min<std::uint64_t>(left, static_cast<std::uint64_t>(end_ - begin_)));
    if (size > wanted && size < left)
        size -= (size - to_page) % kPage;
    data = Bytes(buffer_).subspan(begin_, size);
    consume(size);
    in_extent_ += size;
    if (in_extent_ == extent.size) {
        ++extent_;
        in_extent_ = 0;
    }
    return Piece{offset, data};
}

/// Skip what is left of the current entry, padding included.
void TarReader::finish_content() {
    while (read())
        ;
    extents_.clear();
    extent_ = 0;
    in_extent_ = 0;
    if (padding_ == 0)
        return;
    const Bytes pad = need(static_cast<std::size_t>(padding_));
    if (pad.size() < padding_)
        throw Error(ErrorKind::data, "truncated tar: it ends in the padding of a file");
    if (as_text(pad).find_first_not_of('\0') != std::string_view::npos)
        malformed_tar("padding that is not zero");
    consume(static_cast<std::size_t>(padding_));
    padding_ = 0;
}

bool TarReader::next(TarEntry& entry) {
    if (done_)
        return false;
    finish_content();
    HeaderBlock header;
    if (!read_header(header)) {
        done_ = true;
        return false;
    }
    ExtendedHeader extended;
    read_extended(header, extended);
    fill_entry(header, extended, entry);
    return true;
}

} // namespace zl
