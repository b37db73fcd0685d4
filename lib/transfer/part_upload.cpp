#include "transfer/part_upload.hpp"

#include "base/crash_point.hpp"
#include "base/error.hpp"
#include "base/parallel.hpp"
#include "stream/hash.hpp"

#include <algorithm>
#include <mutex>

namespace zl {

std::uint64_t part_size_for(std::uint64_t wanted, std::uint64_t total) {
    constexpr std::uint64_t kMiB = 1 << 20;
    std::uint64_t least = (total + kMaxParts - 1) / kMaxParts;
    if (least > kMaxPartSize)
        throw Error(ErrorKind::data, "layer of " + format_size(total) +
                                         " is more than 10000 parts of 5 GiB can hold");
    if (least > wanted)
        wanted = (least + kMiB - 1) / kMiB * kMiB;
    return wanted;
}

int PartUpload::count() const {
    return static_cast<int>((row.blob_size + row.part_size - 1) / row.part_size);
}
std::uint64_t PartUpload::offset(int number) const {
    return static_cast<std::uint64_t>(number - 1) * row.part_size;
}
std::uint64_t PartUpload::size(int number) const {
    return std::min(row.part_size, row.blob_size - offset(number));
}

std::string PartUpload::md5_of(int number) const {
    FileBody body(spool_fd, offset(number), size(number), row.spool);
    Hasher hash(Hasher::Algorithm::md5);
    std::vector<std::byte> buffer(1 << 20);
    for (std::uint64_t at = 0; at < body.size();) {
        auto n = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), body.size() - at));
        body.read(at, std::span(buffer.data(), n));
        hash.update(Bytes(buffer.data(), n));
        at += n;
    }
    return hash.finish_hex();
}

std::vector<PartInfo> PartUpload::stored_parts() {
    std::vector<PartInfo> parts(static_cast<std::size_t>(count()));
    auto recorded = db.parts(row.id);
    for (const PartInfo& p : store.list_parts(key, row.upload_id)) {
        if (p.number < 1 || p.number > count() || p.size != size(p.number))
            continue;
        auto ours = recorded.find(p.number);
        bool known = ours != recorded.end() && ours->second.etag == p.etag && !p.etag.empty();
        // The reply was lost, or the process died before it was recorded: the bytes decide.
        if (known || p.etag == md5_of(p.number))
            parts[static_cast<std::size_t>(p.number) - 1] = p;
    }
    return parts;
}

std::string PartUpload::send_part(int number) const {
    auto advance = [this](std::int64_t n) { progress.advance(n); };
    FileBody bytes(spool_fd, offset(number), size(number), row.spool);
    if (hashes.part_size != row.part_size || hashes.sha256.empty())
        return store.upload_part(key, row.upload_id, number, bytes, advance);
    HashedBody hashed(bytes, hashes.sha256.at(static_cast<std::size_t>(number) - 1));
    return store.upload_part(key, row.upload_id, number, hashed, advance);
}

void PartUpload::send(std::vector<PartInfo>& parts) {
    std::mutex mutex;
    std::uint64_t done = 0;
    std::vector<std::size_t> missing;
    for (std::size_t i = 0; i < parts.size(); ++i)
        parts[i].number ? void(++done) : missing.push_back(i);

    parallel_for(missing.size(), jobs, [&](std::size_t nth) {
        std::size_t i = missing[nth];
        int number = static_cast<int>(i) + 1;
        if (stop.stop_requested())
            throw Interrupted();
        std::string etag = send_part(number);
        crash_point("push.part-unrecorded");
        std::lock_guard lock(mutex);
        // I4: a part is recorded when its reply was seen, never before.
        db.record_part(row.id, {number, size(number), etag});
        parts[i] = {number, size(number), etag, {}};
        bytes_sent += size(number);
        progress.items(++done, parts.size());
        crash_point("push.part");
    });
}

std::vector<PartInfo> PartUpload::run() {
    std::vector<PartInfo> parts = stored_parts();
    std::uint64_t there = 0;
    std::size_t number_there = 0;
    for (const PartInfo& p : parts) {
        there += p.size;
        number_there += p.number != 0;
    }
    progress.begin("uploading", row.blob_size);
    progress.advance(static_cast<std::int64_t>(there));
    progress.items(number_there, parts.size());
    if (number_there)
        log.notice("resuming upload: " + std::to_string(number_there) + " of " +
                   std::to_string(parts.size()) + " parts (" + format_size(there) + " of " +
                   format_size(row.blob_size) + ") are already stored");
    send(parts);
    return parts;
}

} // namespace zl
