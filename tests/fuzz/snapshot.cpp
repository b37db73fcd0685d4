/// The end of a snapshot, and metadata.json of a replica.
#include "fuzz.hpp"
#include "wal/replica_metadata.hpp"
#include "wal/snapshot.hpp"
#include "wal/snapshot_header.hpp"

using namespace zl;

int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    const std::string text(fuzz::text_of(fuzz::bytes_of(data, size)));
    fuzz::refusal([&] {
        const SnapshotHeader header = parse_snapshot_header(text, "snapshot");
        fuzz::require(snapshot_header_line(header) == text, "a header has one form");
    });
    fuzz::refusal([&] {
        read_snapshot_index(size, "snapshot", [&](std::uint64_t offset, std::uint64_t n) {
            fuzz::require(offset <= size && n <= size - offset, "ranges lie in the object");
            return text.substr(offset, n);
        });
    });
    ReplicaMetadata metadata;
    if (fuzz::refusal([&] { metadata = decode_replica_metadata(text, "metadata.json"); }).empty()) {
        const std::string again = encode_replica_metadata(metadata);
        fuzz::require(fuzz::refusal([&] { decode_replica_metadata(again, "metadata.json"); }).empty(),
                      "what is kept can be read again: " + again);
    }
    return 0;
}
