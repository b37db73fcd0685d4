#include "inventory/layer_data.hpp"

#include "base/error.hpp"
#include "layer/layer_reader.hpp"
#include "layer/tar_scanner.hpp"
#include "store/range_reader.hpp"
#include "transfer/layer_parts.hpp"

#include <vector>

namespace zl {

namespace {

constexpr std::uint64_t kRange = 8 << 20;
constexpr std::size_t kStep = 256 << 10;

/// The tar of a layer, taken in pieces of known size.
class Tar {
public:
    Tar(LayerStreamReader& in, std::stop_token stop)
        : in_(in), stop_(std::move(stop)), buffer_(kStep) {}

    std::uint64_t position() const { return position_; }

    void skip(std::uint64_t n, EntryProof* proof) {
        while (n > 0) {
            const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(n, buffer_.size()));
            const std::size_t got = read(want);
            if (got == 0)
                throw Error(ErrorKind::data, "its tar is shorter than its table of contents says");
            if (proof)
                proof->write(Bytes(buffer_).first(got));
            n -= got;
        }
    }
    /// Entries of the tar, if all of it was still to come.
    std::uint64_t count_entries() {
        TarScanner scanner;
        while (const std::size_t n = read(buffer_.size()))
            scanner.write(Bytes(buffer_).first(n));
        scanner.finish();
        return scanner.entries();
    }
    void drain() {
        while (read(buffer_.size()) != 0) {
        }
    }

private:
    std::size_t read(std::size_t n) {
        if (stop_.stop_requested())
            throw Interrupted();
        n = in_.read(std::span(buffer_).first(n));
        position_ += n;
        return n;
    }

    LayerStreamReader& in_;
    std::stop_token stop_;
    std::vector<std::byte> buffer_;
    std::uint64_t position_ = 0;
};

/// Each entry begins where the one before ended, and holds what its SHA-256 says.
void walk_entries(Tar& tar, Bytes toc, const LayerEnd& end) {
    const FrameMap frames(end);
    EntryProof proof;
    TocEntry open;
    std::uint64_t count = 0;
    auto close = [&](std::uint64_t next) {
        if (next < tar.position() || (count > 0 && next == tar.position()))
            throw Error(ErrorKind::data, "table of contents: entries out of order");
        if (count == 0 && next != 0)
            throw Error(ErrorKind::data, "table of contents: its first entry is not the tar's");
        if (count > 0) {
            const std::uint64_t size = next - tar.position();
            proof.begin(open, size);
            tar.skip(size, &proof);
            proof.end();
        }
    };
    read_toc(toc, [&](std::uint64_t, const TocEntry& e) {
        close(frames.tar_offset(e));
        open = e;
        ++count;
        return true;
    });
    close(count > 0 ? end_of_entries(end) : 0);
}

void expect(const char* what, const std::string& is, const std::string& wanted) {
    if (is != wanted)
        throw Error(ErrorKind::data, std::string(what) + " is " + is + ", expected " + wanted);
}

} // namespace

LayerData::Content LayerData::verify(Progress& progress, std::stop_token stop) const {
    RangeReader in(store, object, {0, object.size}, {jobs, kRange}, progress);
    if (raw) {
        Hasher hash;
        for (Bytes bytes; !(bytes = in.available()).empty(); in.consume(bytes.size())) {
            if (stop.stop_requested())
                throw Interrupted();
            hash.update(bytes);
        }
        expect("its SHA-256", hash.finish().hex(), digest);
        return {object.size, 0};
    }
    LayerStreamReader::Options options;
    options.threads = jobs > 1 ? 0 : 1;
    options.foreign = !end;
    LayerStreamReader reader(in, options);
    Tar tar(reader, stop);
    Content content;
    if (end) {
        walk_entries(tar, as_bytes(fetch_toc(store, object, *end)), *end);
        content.file_count = end->trailer.file_count;
    } else if (meta && meta->kind == "foreign") {
        content.file_count = tar.count_entries();
    }
    tar.drain();
    const auto result = reader.finish();
    content.size_bytes = result.size_bytes;
    expect("the digest of its tar", result.digest.hex(), digest);
    if (meta && !meta->blob_sha256.empty())
        expect("its SHA-256", result.blob_sha256.hex(), meta->blob_sha256);
    return content;
}

} // namespace zl
