#include "layer/layer_checker.hpp"

#include "base/error.hpp"
#include "base/file.hpp"
#include "stream/seek_table.hpp"

#include <vector>

namespace zl {

namespace {

Error bad(const std::string& why) {
    return Error(ErrorKind::data, "layer stream: " + why);
}

} // namespace

struct LayerStreamChecker::Impl {
    explicit Impl(Observer* o) : observer(o) {}

    Observer* observer;
    FrameScanner scanner;
    Hasher hash;
    std::uint64_t size = 0;        ///< bytes seen
    std::uint64_t frame_start = 0; ///< offset of the frame under way
    std::string held;              ///< bytes of the frame: until its header is known, or all of it
    bool known = false;            ///< its header was seen; what is held before that is not hashed
    bool first = true;             ///< nothing of the data frame was given to the observer yet
    Digest before;                 ///< SHA-256 up to the trailer: what that vouches for
    std::vector<SeekEntry> rows;
    std::uint64_t last_row_offset = 0;
    bool rows_fit = true; ///< there may be a trailer: every row fits a seek table of ours
    std::optional<Trailer> trailer;
    bool complete = false; ///< the seek table was seen

    bool is_ours(unsigned variant) const {
        const auto& h = scanner.header();
        return h && h->skippable && h->magic == kSkippableMagic + variant;
    }
    /// Frames whose payload is looked at.
    bool keep_whole() const {
        return is_ours(kTrailerVariant) || (trailer && is_ours(kSeekTableVariant));
    }

    void piece(Bytes bytes) {
        if (complete)
            throw bad("bytes after its end");
        bool starts = scanner.at_boundary();
        if (starts)
            frame_start = size;
        std::size_t n = scanner.feed(bytes);
        Bytes taken = bytes.first(n);
        accept(taken, starts);
        size += n;
        if (scanner.at_boundary())
            frame_end();
    }

    void accept(Bytes taken, bool starts) {
        if (starts) {
            held.clear();
            known = false;
            first = true;
        }
        const auto& h = scanner.header();
        if (!h) { // not enough of it yet to know
            held += as_text(taken);
            return;
        }
        if (!known) {
            known = true;
            if (is_ours(kTrailerVariant))
                before = hash.peek();
            hash.update(as_bytes(held));
        }
        hash.update(taken);
        if (!h->skippable) {
            if (trailer)
                throw bad("data after the trailer");
            if (observer) {
                if (first && !held.empty()) {
                    observer->data(*h, as_bytes(held), true);
                    first = false;
                }
                observer->data(*h, taken, first);
            }
            held.clear();
            first = false;
            return;
        }
        if (keep_whole()) {
            if (held.size() + taken.size() > limit())
                throw bad("skippable frame of " + std::to_string(*h->content_size) +
                          " bytes at its end, too large");
            held += as_text(taken);
        } else {
            held.clear();
        }
    }

    std::uint64_t limit() const {
        return trailer ? seek_table_frame_size(rows.size()) : kMaxTrailerSize;
    }

    void frame_end() {
        const FrameHeader& h = *scanner.header();
        if (h.skippable && keep_whole()) {
            if (trailer)
                check_seek_table();
            else
                check_trailer();
        } else if (h.skippable && trailer) {
            throw bad("unknown frame after the trailer");
        }
        std::uint64_t content = h.skippable ? 0 : h.content_size.value_or(UINT64_MAX);
        // A foreign stream may have any number of frames, a hostile one of 8 bytes each.
        rows_fit = rows_fit && content <= UINT32_MAX && scanner.frame_size() <= UINT32_MAX &&
                   rows.size() < kMaxLayerRows;
        if (rows_fit)
            rows.push_back({static_cast<std::uint32_t>(scanner.frame_size()),
                            static_cast<std::uint32_t>(content)});
        last_row_offset = frame_start;
        if (!h.skippable && observer)
            observer->frame_end();
    }

    void check_trailer() {
        Trailer t = decode_trailer(as_bytes(held).subspan(kSkippableHeaderSize));
        if (t.before_bytes != frame_start || t.before_sha256 != before)
            throw bad("the bytes before the trailer are not those it was made for (" +
                      std::to_string(frame_start) + " bytes, expected " +
                      std::to_string(t.before_bytes) + ")");
        if (!rows_fit || t.data_frames + 1 != rows.size() || t.data_bytes != last_row_offset)
            throw bad("the trailer does not fit the frames before it");
        trailer = std::move(t);
    }

    void check_seek_table() {
        if (decode_seek_table(as_bytes(held)) != rows)
            throw bad("the seek table does not fit the frames before it");
        complete = true;
    }
};

LayerStreamChecker::LayerStreamChecker(Observer* observer)
    : impl_(std::make_unique<Impl>(observer)) {}
LayerStreamChecker::~LayerStreamChecker() = default;

void LayerStreamChecker::write(Bytes data) {
    while (!data.empty()) {
        std::uint64_t before = impl_->size;
        impl_->piece(data);
        data = data.subspan(static_cast<std::size_t>(impl_->size - before));
    }
}

LayerStreamChecker::Result LayerStreamChecker::finish() {
    if (impl_->size == 0)
        throw bad("empty");
    if (!impl_->scanner.at_boundary())
        throw bad("ends inside a frame, after " + std::to_string(impl_->size) + " bytes");
    if (impl_->trailer && !impl_->complete)
        throw bad("ends after the trailer, without its seek table");
    return {impl_->trailer, impl_->hash.finish(), impl_->size};
}

} // namespace zl
