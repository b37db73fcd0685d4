/// The strict reader of the tar in our own layer streams: ustar and pax (POSIX.1-2017 pax, "ustar
/// Interchange Format"), GNU long names, base-256 numbers, GNU sparse 1.0 (GNU tar manual, "PAX
/// Format, Version 1.0"). Whatever two readers could understand differently is refused. Foreign
/// archives go through ForeignReader.
///
///   refused: unknown type flags and magic, sizes on entries without content, a pax size beside another
///   one that ustar could have held, malformed or doubled
///   pax records, global headers that say more than a comment, an extended header without its entry,
///   device and id numbers out of range, sparse maps that overlap or lead out of the file, one zero
///   block, anything after the two zero blocks.
#pragma once

#include "layer/tar_entry.hpp"

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace zl {

struct ExtendedHeader;
struct HeaderBlock;

/// Largest extended header: 255-byte names and 64 KiB values make headers of some hundred KiB.
inline constexpr std::uint64_t kMaxPaxHeader = 4 << 20;
/// Extents of one sparse file: with extents 68 KiB apart, the least that zl-pack makes, 1 TiB.
inline constexpr std::uint64_t kMaxSparseExtents = 1 << 24;

class TarReader final : public EntryReader {
public:
    /// @p in is the uncompressed tar and outlives this.
    explicit TarReader(Source& in);
    ~TarReader() override;
    bool next(TarEntry& entry) override;
    std::optional<Piece> read() override;

private:
    struct Extent {
        std::uint64_t offset = 0;
        std::uint64_t size = 0;
    };

    Bytes need(std::size_t n);
    void consume(std::size_t n) { begin_ += n; }
    bool at_end();
    bool read_header(HeaderBlock& header);
    std::string read_small(std::uint64_t size, const char* what);
    void read_extended(HeaderBlock& header, ExtendedHeader& ext);
    void read_sparse_map(std::uint64_t stored, std::uint64_t real);
    void fill_entry(const HeaderBlock& header, ExtendedHeader& ext, TarEntry& entry);
    void finish_content();

    Source& in_;
    std::vector<std::byte> buffer_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
    bool source_ended_ = false;
    bool done_ = false;

    std::vector<Extent> extents_; ///< of the current file's content
    std::size_t extent_ = 0;      ///< the one under way
    std::uint64_t in_extent_ = 0; ///< bytes of it already given
    std::uint64_t padding_ = 0;   ///< after the content
};

} // namespace zl
