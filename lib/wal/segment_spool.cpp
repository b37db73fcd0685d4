#include "wal/segment_spool.hpp"

#include "base/error.hpp"
#include "base/parallel.hpp"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

namespace zl {

SegmentLink link_of(const SegmentHeader& h) {
    SegmentLink out;
    out.range = {h.first_sequence, h.sequence};
    out.db_id = h.db_id;
    out.generation = h.generation;
    out.time = h.time;
    out.page_size = h.page_size;
    out.page_count = h.page_count;
    out.prev = h.prev;
    out.id = h.kind == SegmentKind::merged ? h.last : h.id();
    out.before = h.checksum_before;
    out.after = h.checksum_after;
    out.claim = h.kind == SegmentKind::claim;
    return out;
}

SegmentLink link_of(const SnapshotHeader& h) {
    SegmentLink out;
    out.range = {h.sequence, h.sequence};
    out.db_id = h.db_id;
    out.generation = h.generation;
    out.time = h.time;
    out.page_size = h.page_size;
    out.page_count = h.page_count;
    out.id = h.chain;
    out.after = h.checksum;
    return out;
}

std::string why_not_next(const SegmentLink& last, const SegmentLink& next) {
    auto differ = [](const std::string& what, const std::string& is, const std::string& wanted) {
        return what + " " + is + ", expected " + wanted;
    };
    if (next.range.first != last.range.last + 1)
        return differ("sequence", std::to_string(next.range.first),
                      std::to_string(last.range.last + 1));
    if (next.db_id != last.db_id)
        return differ("database", next.db_id, last.db_id);
    if (next.claim || next.generation != last.generation)
        return differ("generation", next.generation, last.generation);
    if (next.page_size != last.page_size)
        return differ("page size", std::to_string(next.page_size), std::to_string(last.page_size));
    if (next.prev != last.id)
        return differ("predecessor", next.prev.hex(), last.id.hex());
    if (next.before != last.after)
        return differ("checksum before it", std::to_string(next.before),
                      std::to_string(last.after));
    if (next.time <= last.time)
        return differ("time", format_rfc3339(next.time), "later than " + format_rfc3339(last.time));
    return {};
}

/// Takes one object on its way into the file: header kept, body hashed.
class SegmentSpool::Receiver final : public Sink {
public:
    Receiver(SegmentSpool& spool, const Part& part) : spool_(spool), part_(part) {}

    void write(Bytes data) override {
        if (spool_.stop_.stop_requested())
            throw Interrupted();
        if (data.size() > part_.size - taken_)
            throw Error(ErrorKind::data, "longer than listed");
        pwrite_full(spool_.fd_.get(), data, part_.offset + taken_, spool_.path_);
        if (taken_ < header_.size()) {
            auto n = std::min<std::size_t>(data.size(), header_.size() - taken_);
            std::memcpy(header_.data() + taken_, data.data(), n);
            body_.update(data.subspan(n));
        } else {
            body_.update(data);
        }
        taken_ += data.size();
        spool_.progress_.advance(static_cast<std::int64_t>(data.size()));
    }

    SegmentHeader finish_object(const std::string& name) {
        if (taken_ != part_.size)
            throw Error(ErrorKind::data, name + ": " + std::to_string(taken_) +
                                             " bytes, expected " + std::to_string(part_.size));
        SegmentHeader h = decode_segment_header(
            Bytes(header_).first(std::min<std::size_t>(taken_, header_.size())), name);
        if (h.body_size != part_.size - kSegmentHeaderSize)
            throw Error(ErrorKind::data,
                        name + ": body of " + std::to_string(part_.size - kSegmentHeaderSize) +
                            " bytes, its header says " + std::to_string(h.body_size));
        if (Digest got = body_.finish(); got != h.body_sha256)
            throw Error(ErrorKind::data, name + ": SHA-256 of the body is " + got.hex() +
                                             ", its header says " + h.body_sha256.hex());
        return h;
    }

private:
    SegmentSpool& spool_;
    const Part& part_;
    std::array<std::byte, kSegmentHeaderSize> header_;
    std::uint64_t taken_ = 0;
    Hasher body_;
};

SegmentSpool::SegmentSpool(ReplicaCatalogue& catalogue, const std::string& path, Progress& progress,
                           std::stop_token stop)
    : catalogue_(catalogue), path_(path), fd_(open_file(path, O_RDWR | O_CREAT | O_TRUNC, 0600)),
      progress_(progress), stop_(std::move(stop)) {}

bool SegmentSpool::fetch_one(const PlannedSegment& segment, Part& part) {
    const std::string name = catalogue_.store().describe(segment.key);
    try {
        Receiver receiver(*this, part);
        if (!catalogue_.store().get(segment.key, receiver)) {
            catalogue_.vanished(segment.key);
            return false;
        }
        SegmentHeader h = receiver.finish_object(name);
        if (h.first_sequence != segment.range.first || h.sequence != segment.range.last)
            throw Error(ErrorKind::data,
                        name + ": its header is of segment " + std::to_string(h.sequence));
        part.link = link_of(h);
        return true;
    } catch (Error& e) {
        if (e.kind() != ErrorKind::data)
            throw;
        catalogue_.exclude(segment.key,
                           e.message().starts_with(name) ? e.message() : name + ": " + e.message());
        return false;
    }
}

void SegmentSpool::fetch(const std::vector<PlannedSegment>& segments, int jobs) {
    std::vector<const PlannedSegment*> wanted;
    std::vector<Part> parts;
    for (const PlannedSegment& s : segments) {
        if (parts_.contains(s.key))
            continue;
        wanted.push_back(&s);
        parts.push_back({end_, s.size, {}});
        end_ += s.size;
    }
    std::vector<char> good(wanted.size(), 0);
    std::atomic<std::uint64_t> done = 0;
    // All of them, also behind a damaged one: the message should tell what can be relied upon.
    parallel_for(wanted.size(), jobs, [&](std::size_t i) {
        good[i] = fetch_one(*wanted[i], parts[i]) ? 1 : 0;
        progress_.items(++done, wanted.size());
    });
    bool whole = true;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        whole = whole && good[i];
        bytes_ += parts[i].size;
        if (good[i])
            parts_.emplace(wanted[i]->key, std::move(parts[i]));
    }
    if (!whole)
        throw PlanAgain();
}

void SegmentSpool::read(const PlannedSegment& segment, const PageVisitor& visit) {
    const Part& part = parts_.at(segment.key);
    const std::string name = catalogue_.store().describe(segment.key);
    std::array<std::byte, kSegmentHeaderSize> first;
    if (pread_full(fd_.get(), first, part.offset, path_) != first.size())
        throw Error(ErrorKind::io, path_ + ": shorter than what was written");
    class BodySource final : public Source {
    public:
        BodySource(int fd, std::uint64_t at, std::uint64_t end, const std::string& name)
            : fd_(fd), at_(at), end_(end), name_(name) {}
        std::size_t read(std::span<std::byte> buffer) override {
            auto n = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), end_ - at_));
            n = pread_full(fd_, buffer.first(n), at_, name_);
            at_ += n;
            return n;
        }

    private:
        int fd_;
        std::uint64_t at_, end_;
        const std::string& name_;
    } body(fd_.get(), part.offset + kSegmentHeaderSize, part.offset + part.size, path_);
    try {
        read_segment(decode_segment_header(first, name), body, name, visit);
    } catch (const Error& e) {
        if (e.kind() != ErrorKind::data)
            throw;
        catalogue_.exclude(segment.key, e.message());
        throw PlanAgain();
    }
}

} // namespace zl
