#include "transfer/puller.hpp"

#include "base/error.hpp"
#include "base/handle.hpp"
#include "transfer/layer_keys.hpp"
#include "transfer/layer_meta.hpp"
#include "store/range_reader.hpp"

#include <algorithm>
#include <cstdio>

namespace zl {

namespace {

constexpr std::uint64_t kBlindHoldBack = 256 << 10;
constexpr std::size_t kStep = 256 << 10;

/// Passes bytes on up to an offset and keeps the rest until release(); a long rest (the contents of
/// a million files) goes to an unnamed file.
class HoldBackSink {
public:
    HoldBackSink(Sink& out, std::uint64_t from, std::uint64_t size) : out_(out), from_(from) {
        if (size - from > kMaxHeldInMemory && !(file_ = File(std::tmpfile())))
            throw sys_error(std::string("create ") + kFileName);
    }
    void write(Bytes data) {
        auto n = static_cast<std::size_t>(
            std::min<std::uint64_t>(data.size(), from_ > at_ ? from_ - at_ : 0));
        if (n)
            out_.write(data.first(n));
        at_ += data.size();
        data = data.subspan(n);
        if (!file_)
            held_.insert(held_.end(), data.begin(), data.end());
        else
            write_full(fileno(file_.get()), data, kFileName); // no buffer that fails unseen
    }
    void release() {
        out_.write(held_);
        if (file_)
            copy_file();
        out_.finish();
    }

private:
    void copy_file() {
        std::vector<std::byte> buffer(kStep);
        for (std::uint64_t at = from_; at < at_;) {
            std::span part(buffer.data(), std::min<std::uint64_t>(buffer.size(), at_ - at));
            if (pread_full(fileno(file_.get()), part, at - from_, kFileName) != part.size())
                throw Error(ErrorKind::io, std::string(kFileName) + ": cut short");
            out_.write(part);
            at += part.size();
        }
    }

    using File = Handle<std::FILE, std::fclose>;
    static constexpr std::uint64_t kMaxHeldInMemory = 16 << 20;
    static constexpr const char* kFileName = "a temporary file";
    Sink& out_;
    std::uint64_t from_;
    std::uint64_t at_ = 0;
    std::vector<std::byte> held_;
    File file_;
};

/// What is fetched, on its way to its proof.
class PassingSource final : public Source {
public:
    PassingSource(Source& in, HoldBackSink& out, std::stop_token stop)
        : in_(in), out_(out), stop_(std::move(stop)) {}
    std::size_t read(std::span<std::byte> buffer) override {
        if (stop_.stop_requested())
            throw Interrupted();
        std::size_t n = in_.read(buffer);
        out_.write(Bytes(buffer.data(), n));
        return n;
    }

private:
    Source& in_;
    HoldBackSink& out_;
    std::stop_token stop_;
};

} // namespace

LayerProof PullTarget::proof() const {
    if (what.raw)
        return LayerProof::raw;
    // Who can write the object could as well write the ref of a name: its content would prove no
    // more than the trailer does.
    return end && !what.by_digest ? LayerProof::trailer : LayerProof::content;
}

std::uint64_t PullTarget::hold_back_from() const {
    if (end)
        return end->last_frame_offset();
    return object.size - std::min(object.size, kBlindHoldBack);
}

Puller::Puller(ObjectStore& store, PullOptions options, Log& log, Progress& progress,
               std::stop_token stop)
    : store_(store), options_(std::move(options)), log_(log), progress_(progress),
      stop_(std::move(stop)) {}

PullTarget Puller::find(const std::string& ref) {
    PullTarget t;
    t.what = resolve_ref(store_, options_.prefix, ref);
    const std::string& digest = t.what.digest;
    std::string key =
        t.what.raw ? raw_key(options_.prefix, digest) : layer_key(options_.prefix, digest);
    auto object = store_.head(key);
    if (!object)
        throw Error(ErrorKind::not_found, "no layer sha256:" + digest + " in " +
                                              store_.describe(options_.prefix) + " (" + t.what.how +
                                              ")");
    t.object = *object;
    if (!t.what.raw)
        t.end = read_layer_end(store_, t.object);
    if (t.end && t.end->trailer.digest.hex() != digest)
        throw Error(ErrorKind::data, store_.describe(key) +
                                         ": holds the layer sha256:" + t.end->trailer.digest.hex());
    if (!t.end && !t.what.raw) {
        // Either another tool's layer, or one of ours whose end was lost: the metadata knows. Its
        // sizes may be those of another push of the same content; that decides.
        auto meta = read_layer_meta(store_, layer_meta_key(options_.prefix, digest));
        if (meta && meta->kind == "layer" && !meta->blob_sha256.empty())
            throw Error(ErrorKind::data, store_.describe(key) + ": its end is damaged");
    }
    log_.info("sha256:" + digest + " (" + t.what.how + "), " + format_size(t.object.size));
    return t;
}

PullOutcome Puller::pull(const PullTarget& target, Sink& out) {
    progress_.begin("fetching", target.object.size);
    RangeReader in(store_, target.object, {0, target.object.size},
                   {options_.jobs, options_.part_size}, progress_);
    HoldBackSink held(out, target.hold_back_from(), target.object.size);
    PassingSource passing(in, held, stop_);
    bool incomplete = false;
    try {
        incomplete = verify_layer(passing, target.proof(), target.what.digest);
    } catch (Error& e) {
        if (e.kind() != ErrorKind::data)
            throw;
        throw e.add_context(store_.describe(target.object.key)).with_hint(kDamaged);
    }
    held.release();
    return {target.what.digest, target.object.size, incomplete};
}

} // namespace zl
