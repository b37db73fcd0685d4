/// What a packing run has to tell: to the log, to the trailer, and whether the layer is complete.
#pragma once

#include "base/report.hpp"
#include "layer/layer_writer.hpp"
#include "layer/pack.hpp"
#include "layer/pack_item.hpp"

#include <string>
#include <string_view>

namespace zl {

/// Printable text for a path of raw bytes: valid UTF-8 stays, but for control characters; a
/// backslash becomes `\\`, every other byte `\xNN`. Above 1 KiB the middle is left out (`...`).
std::string escape_path(std::string_view path);

class PackNotes {
public:
    PackNotes(PackOptions::Changed changed, Log& log) : changed_(changed), log_(log) {}
    /// Throws transient for a change under Changed::fail.
    void add(const PackNote& note);
    const LayerStreamWriter::Notes& notes() const { return notes_; }

private:
    PackOptions::Changed changed_;
    Log& log_;
    LayerStreamWriter::Notes notes_;
};

} // namespace zl
