/// Follows a tar by its header sizes only: enough to know that it ends where tars end, and how many
/// entries it has. For streams that other programs made (`zl-push --foreign`): a tar cut at an
/// entry boundary looks whole to GNU tar and bsdtar alike, only the two zero blocks tell.
#pragma once

#include "stream/stream.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>

namespace zl {

class TarScanner {
public:
    /// Throws data where the bytes cannot be a tar (ustar, pax, GNU, V7).
    void write(Bytes data);
    /// At the end of the input. Throws data unless two zero blocks were seen, with nothing but
    /// zeros after them.
    void finish() const;
    /// Entries seen; extended headers do not count.
    std::uint64_t entries() const { return entries_; }
    /// Readers differ on what is a header and what is content: a link, device or directory with a
    /// size, a pax size beside another that the header could have held, a size for all entries, an
    /// unknown type. This scanner goes on; nobody should unpack it (CVE-2025-62518).
    bool ambiguous() const { return ambiguous_; }

private:
    void block(const std::byte* header);
    void header(const std::byte* header);

    std::array<std::byte, 512> partial_{};
    std::size_t partial_size_ = 0;
    std::uint64_t skip_ = 0;     ///< bytes of content and padding still to pass
    std::uint64_t pax_left_ = 0; ///< of a pax header's content, still to collect
    std::string pax_;
    std::optional<std::uint64_t> pax_size_; ///< `size` of the pax header before
    bool sparse_extension_ = false;
    std::uint64_t after_extension_ = 0; ///< content that follows GNU sparse extension blocks
    int zero_blocks_ = 0;
    std::uint64_t entries_ = 0;
    bool ambiguous_ = false;
    bool pax_is_global_ = false;
};

} // namespace zl
