/// zl-pull --path: only the frames that hold the wanted entries, as a small layer stream of its
/// own.
#include "base/error.hpp"
#include "base/file.hpp"
#include "store/range_reader.hpp"
#include "transfer/layer_parts.hpp"
#include "transfer/puller.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace zl {

namespace {

constexpr int kLevel = 3;
/// An entry to copy: its bytes are [offset, offset + size) of the tar.
struct Piece {
    TocEntry entry;
    std::uint64_t index = 0;
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
};

bool is_parent(const TocEntry& e, const std::string& wanted) {
    return e.type == EntryType::directory && (e.path == "." || is_at_or_below(wanted, e.path));
}

/// Indexes of the entries at or below @p wanted, of the directories above them, and of what the
/// hard links among them need: the name that holds the data, and the directories above that.
std::set<std::uint64_t> choose(Bytes toc, const std::vector<std::string>& wanted) {
    std::set<std::uint64_t> chosen, targets;
    std::vector<bool> found(wanted.size());
    read_toc(toc, [&](std::uint64_t i, const TocEntry& e) {
        for (std::size_t w = 0; w < wanted.size(); ++w) {
            bool inside = is_at_or_below(e.path, wanted[w]);
            if (inside && e.type == EntryType::hardlink)
                targets.insert(e.link_index);
            if (inside || is_parent(e, wanted[w]))
                chosen.insert(i);
            found[w] = found[w] || inside;
        }
        return true;
    });
    for (std::size_t w = 0; w < wanted.size(); ++w)
        if (!found[w])
            throw Error(ErrorKind::not_found, "no " + wanted[w] + " in the layer");
    if (targets.empty())
        return chosen;
    std::vector<std::string> target_paths;
    read_toc(toc, [&](std::uint64_t i, const TocEntry& e) {
        if (targets.count(i))
            target_paths.push_back(e.path);
        return true;
    });
    read_toc(toc, [&](std::uint64_t i, const TocEntry& e) {
        if (std::any_of(target_paths.begin(), target_paths.end(),
                        [&](const std::string& t) { return is_parent(e, t); }))
            chosen.insert(i);
        return true;
    });
    chosen.merge(targets);
    return chosen;
}

std::vector<Piece> select(Bytes toc, const FrameMap& frames, std::uint64_t tar_end,
                          const std::vector<std::string>& wanted) {
    const std::set<std::uint64_t> chosen = choose(toc, wanted);
    std::vector<Piece> pieces;
    bool open = false; // the last piece waits for the start of the next entry
    auto close = [&](std::uint64_t next) {
        if (!open)
            return;
        Piece& p = pieces.back();
        if (next <= p.offset || next > tar_end)
            throw Error(ErrorKind::data, "table of contents: entries out of order");
        p.size = next - p.offset;
        open = false;
    };
    read_toc(toc, [&](std::uint64_t i, const TocEntry& e) {
        std::uint64_t at = frames.tar_offset(e);
        close(at);
        if (chosen.count(i)) {
            pieces.push_back({e, i, at, 0});
            open = true;
        }
        return true;
    });
    close(tar_end);
    return pieces;
}

/// Copies the pieces' bytes, frame by frame, into the writer; proves each plain file by its
/// SHA-256.
class PieceCopier {
public:
    PieceCopier(LayerStreamWriter& out, const std::vector<Piece>& pieces)
        : out_(out), pieces_(pieces) {}

    /// Content of a frame that starts at @p tar_offset; frames come in order.
    void frame(std::uint64_t tar_offset, Bytes content) {
        while (next_ < pieces_.size()) {
            const Piece& p = pieces_[next_];
            std::uint64_t from = p.offset + copied_;
            if (from >= tar_offset + content.size())
                return;
            if (copied_ == 0)
                begin(p);
            auto n = static_cast<std::size_t>(
                std::min(p.size - copied_, tar_offset + content.size() - from));
            Bytes part = content.subspan(static_cast<std::size_t>(from - tar_offset), n);
            out_.write(part);
            proof_.write(part);
            copied_ += n;
            if (copied_ < p.size)
                return;
            end(p);
        }
    }
    bool done() const { return next_ == pieces_.size(); }

private:
    void begin(const Piece& p) {
        TocEntry e = p.entry;
        if (e.type == EntryType::hardlink) {
            auto it = new_index_.find(e.link_index);
            if (it == new_index_.end())
                throw Error(ErrorKind::data, "table of contents: " + e.path + " links to nothing");
            e.link_index = it->second;
        }
        new_index_[p.index] = out_.next_index();
        out_.begin_entry(e, p.size);
        proof_.begin(e, p.size);
    }
    void end(const Piece& p) {
        proof_.end();
        out_.end_entry(p.entry.type == EntryType::file ? std::optional(p.entry.sha256)
                                                       : std::nullopt);
        ++next_;
        copied_ = 0;
    }

    LayerStreamWriter& out_;
    const std::vector<Piece>& pieces_;
    std::size_t next_ = 0;
    std::uint64_t copied_ = 0; ///< of pieces_[next_]
    std::map<std::uint64_t, std::uint64_t> new_index_;
    EntryProof proof_;
};

/// Runs of neighbouring frames that hold the pieces: [first, last].
std::vector<std::pair<std::size_t, std::size_t>> frame_runs(const std::vector<Piece>& pieces,
                                                            const FrameMap& map) {
    std::vector<std::pair<std::size_t, std::size_t>> runs;
    for (const Piece& p : pieces) {
        std::size_t first = map.frame_at(p.offset), last = map.frame_at(p.offset + p.size - 1);
        if (!runs.empty() && first <= runs.back().second + 1)
            runs.back().second = std::max(runs.back().second, last);
        else
            runs.emplace_back(first, last);
    }
    return runs;
}

LayerStreamWriter::Notes notes_of(const Trailer& t, const std::vector<std::string>& wanted) {
    LayerStreamWriter::Notes notes;
    for (const SkippedPath& s : t.skipped)
        if (std::any_of(wanted.begin(), wanted.end(),
                        [&](const std::string& w) { return is_at_or_below(s.path, w); }))
            notes.skipped.push_back(s);
    notes.skipped_count = notes.skipped.size();
    // More were skipped than are listed: this part may lack some of them.
    notes.incomplete =
        t.incomplete && (!notes.skipped.empty() || t.skipped_count > t.skipped.size());
    return notes;
}

} // namespace

PullOutcome Puller::pull_paths(const PullTarget& target, const std::vector<std::string>& paths,
                               Sink& out) {
    if (!target.end)
        throw Error(ErrorKind::usage,
                    "sha256:" + target.what.digest +
                        " has no table of contents, so --path cannot be used",
                    "it was made by another tool: zl-pull it whole and pick with tar -x PATH");
    std::vector<std::string> wanted;
    for (const std::string& p : paths)
        wanted.push_back(layer_path(p));
    const LayerEnd& end = *target.end;
    const FrameMap map(end);
    const std::string toc = fetch_toc(store_, target.object, end);
    std::vector<Piece> pieces = select(as_bytes(toc), map, end_of_entries(end), wanted);
    auto runs = frame_runs(pieces, map);

    std::uint64_t total = 0;
    for (auto [first, last] : runs)
        total += map.in_object[last + 1] - map.in_object[first];
    progress_.begin("fetching", total);

    LayerStreamWriter writer(out, kLevel, 0);
    PieceCopier copier(writer, pieces);
    FrameDecompressor zstd;
    std::vector<std::byte> frame, content;
    for (auto [first, last] : runs) {
        RangeReader in(store_, target.object,
                       {map.in_object[first], map.in_object[last + 1] - map.in_object[first]},
                       {options_.jobs, options_.part_size}, progress_);
        for (std::size_t f = first; f <= last; ++f) {
            if (stop_.stop_requested())
                throw Interrupted();
            frame.resize(end.frames[f].compressed_size);
            if (read_full(in, frame) != frame.size())
                throw Error(ErrorKind::data, store_.describe(target.object.key) + ": cut short");
            zstd.decompress(frame, end.frames[f].content_size, content);
            copier.frame(map.in_tar[f], content);
        }
    }
    if (!copier.done())
        throw Error(ErrorKind::data, "table of contents: entries lie outside the frames");
    Trailer t = writer.finish(notes_of(end.trailer, wanted));
    return {t.digest.hex(), total, t.incomplete};
}

} // namespace zl
