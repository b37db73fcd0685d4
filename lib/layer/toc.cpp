#include "layer/toc.hpp"

#include "base/error.hpp"
#include "base/file.hpp"

#include <algorithm>

namespace zl {

namespace {

constexpr std::string_view kTocMagic = "ZLTOC1\n";
constexpr std::size_t kMaxPath = 64 << 10;
constexpr int kTocLevel = 3;

void append_varint(std::string& out, std::uint64_t v) {
    while (v >= 0x80) {
        out += static_cast<char>(v | 0x80);
        v >>= 7;
    }
    out += static_cast<char>(v);
}

Error bad(const std::string& why) {
    return Error(ErrorKind::data, "table of contents: " + why);
}

bool known_type(char c) {
    return std::string_view("fdlhcbpwo").find(c) != std::string_view::npos;
}

/// Takes entries off the front of a growing buffer; a short read rolls back.
class TocParser {
public:
    explicit TocParser(const std::function<bool(std::uint64_t, const TocEntry&)>& visit)
        : visit_(visit) {}

    /// False once the visitor wants no more.
    bool feed(Bytes data) {
        buffer_.append(reinterpret_cast<const char*>(data.data()), data.size());
        std::size_t used = 0;
        while (!stopped_) {
            at_ = used;
            if (!step())
                break;
            used = at_;
        }
        buffer_.erase(0, used);
        return !stopped_;
    }
    void end() const {
        if (!stopped_ && (!ended_ || !buffer_.empty()))
            throw bad(ended_ ? "bytes after its end" : "truncated");
    }

private:
    bool varint(std::uint64_t& v) {
        v = 0;
        for (unsigned shift = 0; shift < 70; shift += 7) {
            if (at_ == buffer_.size())
                return false;
            auto b = static_cast<unsigned char>(buffer_[at_++]);
            if (shift == 63 && b > 1)
                throw bad("number above 64 bits");
            v |= std::uint64_t{b & 0x7Fu} << shift;
            if (!(b & 0x80))
                return true;
        }
        throw bad("number above 64 bits");
    }
    bool take(std::size_t n, std::string_view& out) {
        if (buffer_.size() - at_ < n)
            return false;
        out = std::string_view(buffer_).substr(at_, n);
        at_ += n;
        return true;
    }
    bool step() {
        std::string_view s;
        if (!started_) {
            if (!take(kTocMagic.size(), s))
                return false;
            if (s != kTocMagic)
                throw bad("unknown format");
            return started_ = true;
        }
        if (ended_)
            return false;
        return take(1, s) && (s[0] ? entry(s[0]) : end_mark());
    }
    bool end_mark() {
        std::uint64_t n = 0;
        if (!varint(n))
            return false;
        if (n != index_)
            throw bad("lists " + std::to_string(index_) + " entries, announces " +
                      std::to_string(n));
        return ended_ = true;
    }
    bool entry(char type) {
        if (!known_type(type))
            throw bad("unknown entry type");
        TocEntry e;
        e.type = static_cast<EntryType>(type);
        std::uint64_t shared = 0, n = 0, frame_delta = 0;
        std::string_view tail;
        if (!varint(shared) || !varint(n))
            return false;
        if (shared > path_.size() || n > kMaxPath || shared + n > kMaxPath)
            throw bad("path too long");
        if (!take(static_cast<std::size_t>(n), tail))
            return false;
        e.path = path_.substr(0, static_cast<std::size_t>(shared)) + std::string(tail);
        if (!varint(e.size) || !varint(frame_delta) || !varint(e.offset))
            return false;
        e.frame = frame_ + frame_delta;
        if (e.frame < frame_)
            throw bad("frame number overflows");
        if (e.type == EntryType::hardlink) {
            if (!varint(e.link_index))
                return false;
            if (e.link_index >= index_)
                throw bad("hard link to a later entry");
        }
        if (e.type == EntryType::file) {
            if (!take(e.sha256.bytes.size(), tail))
                return false;
            std::copy_n(reinterpret_cast<const std::byte*>(tail.data()), tail.size(),
                        e.sha256.bytes.begin());
        }
        path_ = e.path;
        frame_ = e.frame;
        if (!visit_(index_++, e))
            stopped_ = true;
        return true;
    }

    const std::function<bool(std::uint64_t, const TocEntry&)>& visit_;
    std::string buffer_;
    std::size_t at_ = 0;
    std::string path_;
    std::uint64_t frame_ = 0;
    std::uint64_t index_ = 0;
    bool started_ = false, ended_ = false, stopped_ = false;
};

} // namespace

TocWriter::TocWriter() : out_(kTocLevel) {
    out_.write(as_bytes(kTocMagic));
}

void TocWriter::add(const TocEntry& e) {
    std::size_t shared = 0;
    std::size_t limit = std::min(previous_path_.size(), e.path.size());
    while (shared < limit && previous_path_[shared] == e.path[shared])
        ++shared;
    std::string row;
    row += static_cast<char>(e.type);
    append_varint(row, shared);
    append_varint(row, e.path.size() - shared);
    row.append(e.path, shared);
    append_varint(row, e.size);
    append_varint(row, e.frame - previous_frame_);
    append_varint(row, e.offset);
    if (e.type == EntryType::hardlink)
        append_varint(row, e.link_index);
    if (e.type == EntryType::file)
        row += as_text(e.sha256.bytes);
    out_.write(as_bytes(row));
    previous_path_ = e.path;
    previous_frame_ = e.frame;
    ++count_;
}

std::string TocWriter::finish() {
    std::string end(1, '\0');
    append_varint(end, count_);
    out_.write(as_bytes(end));
    return out_.finish();
}

void read_toc(Bytes payload, const std::function<bool(std::uint64_t, const TocEntry&)>& visit) {
    TocParser parser(visit);
    StreamDecompressor zstd;
    bool more = true;
    FunctionSink sink([&](Bytes b) { more = more && parser.feed(b); });
    while (!payload.empty() && more) {
        std::size_t n = std::min<std::size_t>(payload.size(), 64 << 10);
        zstd.write(payload.first(n), sink);
        payload = payload.subspan(n);
    }
    if (more && !zstd.at_frame_end())
        throw bad("truncated");
    parser.end();
}

} // namespace zl
