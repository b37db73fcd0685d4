#include "wal/merger.hpp"

#include "base/error.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>

namespace zl {

namespace {

/// What the open cursors of one pass may take, and how many there are at least.
constexpr std::uint64_t kCursorBudget = 4 << 20;
constexpr std::size_t kFewestTogether = 2;
constexpr int kLevel = 3, kLevelBetween = 1;

std::uint64_t cursor_cost(const SegmentHeader& h) {
    std::uint64_t wal = kWalHeaderSize + h.frames * (kWalFrameHeaderSize + h.page_size);
    // Input and zstd's own buffers, a page, the window (not more than there is to decompress).
    return (400 << 10) + h.page_size + std::min<std::uint64_t>(wal, kSegmentFrameSize);
}

class FileSource final : public Source {
public:
    FileSource(int fd, std::uint64_t offset, const std::string& name)
        : fd_(fd), offset_(offset), name_(name) {}
    std::size_t read(std::span<std::byte> buffer) override {
        std::size_t n = pread_full(fd_, buffer, offset_, name_);
        offset_ += n;
        return n;
    }

private:
    int fd_;
    std::uint64_t offset_;
    const std::string& name_;
};

/// One source under way: always on its next page.
struct Lane {
    explicit Lane(const MergeSource& s)
        : source(s.fd.get(), kSegmentHeaderSize, s.name), cursor(s.header, source, s.name) {
        more = cursor.next();
    }
    FileSource source;
    SegmentCursor cursor;
    bool more = false;
};

SegmentHeader joined_header(const SegmentHeader& first, const SegmentHeader& last) {
    SegmentHeader h;
    h.kind = SegmentKind::merged;
    h.db_id = last.db_id;
    h.generation = last.generation;
    h.writer = last.writer;
    h.host = last.host;
    h.first_sequence = first.first_sequence;
    h.sequence = last.sequence;
    h.first_time = first.first_time;
    h.time = last.time;
    h.page_size = last.page_size;
    h.page_count = last.page_count;
    h.prev = first.prev;
    h.last = last.kind == SegmentKind::merged ? last.last : last.id();
    h.checksum_before = first.checksum_before;
    h.checksum_after = last.checksum_after;
    return h;
}

/// One pass over [begin, end), oldest first.
SegmentHeader merge_pass(const MergeSource* begin, const MergeSource* end, int out,
                         SegmentHeader header, int level) {
    std::vector<std::unique_ptr<Lane>> lanes;
    for (const MergeSource* s = begin; s != end; ++s)
        lanes.push_back(std::make_unique<Lane>(*s));
    SegmentWriter writer(out, "merged segment", header.page_size, header.sequence, level);
    for (;;) {
        const Lane* newest = nullptr;
        for (const auto& lane : lanes) // on a tie the later one, which is newer
            if (lane->more && (!newest || lane->cursor.page() <= newest->cursor.page()))
                newest = lane.get();
        if (!newest)
            break;
        std::uint32_t page = newest->cursor.page();
        // What a later source cut off must not come back; its bytes are read all the same, so that
        // every source is checked to its end.
        if (page <= header.page_count)
            writer.page(page, newest->cursor.data());
        for (const auto& lane : lanes)
            if (lane->more && lane->cursor.page() == page)
                lane->more = lane->cursor.next();
    }
    writer.finish(header);
    return header;
}

/// How many of [begin, end) can be open at a time.
std::size_t group_size(const std::vector<MergeSource>& sources, std::size_t begin) {
    std::uint64_t cost = 0;
    std::size_t n = 0;
    while (begin + n < sources.size()) {
        cost += cursor_cost(sources[begin + n].header);
        if (cost > kCursorBudget && n >= kFewestTogether)
            break;
        ++n;
    }
    return n;
}

} // namespace

UniqueFd unnamed_file(const std::string& directory) {
    UniqueFd fd(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (fd)
        return fd;
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT && errno != EINVAL)
        throw sys_error("create a file in " + directory);
    std::string name = directory + "/merge-XXXXXX.tmp";
    fd = UniqueFd(::mkostemps(name.data(), 4, O_CLOEXEC));
    if (!fd)
        throw sys_error("create " + name);
    if (::unlink(name.c_str()) != 0)
        throw sys_error("remove " + name);
    return fd;
}

std::string not_mergeable(const SegmentHeader* before, const SegmentHeader& next) {
    if (next.kind == SegmentKind::claim)
        return "it begins a generation";
    if (!next.resync.empty())
        return "it is a resync";
    if (next.gap_from)
        return "it ends a gap";
    if (!before)
        return {};
    Digest id = before->kind == SegmentKind::merged ? before->last : before->id();
    if (next.first_sequence != before->sequence + 1 || next.prev != id)
        return "it does not follow segment " + std::to_string(before->sequence);
    if (next.generation != before->generation || next.db_id != before->db_id)
        return "it is of another generation";
    if (next.page_size != before->page_size)
        return "its page size is another";
    if (next.checksum_before != before->checksum_after)
        return "it begins with another state";
    return {};
}

SegmentHeader merge_segments(std::vector<MergeSource> sources, int out,
                             const std::string& directory, const std::string& writer,
                             const std::string& host) {
    if (sources.size() < 2)
        throw Error(ErrorKind::internal, "merge of " + std::to_string(sources.size()));
    while (group_size(sources, 0) < sources.size()) {
        std::vector<MergeSource> between;
        for (std::size_t at = 0; at < sources.size();) {
            std::size_t n = group_size(sources, at);
            if (n == 1) {
                between.push_back(std::move(sources[at++]));
                continue;
            }
            MergeSource group{unnamed_file(directory), {}, "merged segment"};
            const MergeSource* first = &sources[at];
            group.header =
                merge_pass(first, first + n, group.fd.get(),
                           joined_header(first->header, first[n - 1].header), kLevelBetween);
            for (; n > 0; --n)
                sources[at++].fd.reset(); // gives the space back
            between.push_back(std::move(group));
        }
        sources = std::move(between);
    }
    SegmentHeader header = joined_header(sources.front().header, sources.back().header);
    header.writer = writer;
    header.host = host;
    return merge_pass(sources.data(), sources.data() + sources.size(), out, header, kLevel);
}

} // namespace zl
