/// Tars that zl-pack did not write (GNU tar, bsdtar, umoci, Docker, star, ...), read by libarchive, which
/// knows the dialects (v7, GNU sparse 0.0 to 1.0, Solaris). Only its tar format, no filter, and
/// nothing of its writing side: entries go through our own Applier.
#pragma once

#include "layer/tar_entry.hpp"

#include <memory>

namespace zl {

/// @p in is the uncompressed tar and outlives the result. Beyond what libarchive checks: names as in
/// clean_tar_path (but `//` and `./` inside are tolerated), the two zero blocks at the end, ids in
/// range. Runs libarchive in the C locale of the calling thread: names stay raw bytes.
std::unique_ptr<EntryReader> make_foreign_reader(Source& in);

} // namespace zl
