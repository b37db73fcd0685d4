/// Several consecutive segments as one.
#pragma once

#include "base/file.hpp"
#include "wal/segment.hpp"

#include <string>
#include <vector>

namespace zl {

/// A segment (or merged one) in a file that verify_segment_file() has proved.
struct MergeSource {
    UniqueFd fd;
    SegmentHeader header;
    std::string name;
};

/// An open file without a name in @p directory: nothing is left of it, whatever happens.
UniqueFd unnamed_file(const std::string& directory);

/// Why @p next cannot be merged with what is before it (@p before: null for the first of a run);
/// empty: it can. A claim, a resync and a gap stand alone, so that --list can tell of them.
std::string not_mergeable(const SegmentHeader* before, const SegmentHeader& next);

/// Merges @p sources (two or more, each mergeable with the one before) into @p out (empty file):
/// every page once, from the newest source that has it, none beyond the last page count. @p writer
/// and @p host go into the header, which is returned. Memory: about 8 MiB; further unnamed files in
/// @p directory are used when the sources are many or large. Throws data naming a source, io.
SegmentHeader merge_segments(std::vector<MergeSource> sources, int out,
                             const std::string& directory, const std::string& writer,
                             const std::string& host);

} // namespace zl
