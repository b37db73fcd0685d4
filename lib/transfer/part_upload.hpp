/// The parts of one multipart upload, several at a time.
#pragma once

#include "base/report.hpp"
#include "state/state_db.hpp"
#include "store/object_store.hpp"

#include <stop_token>
#include <vector>

namespace zl {

/// S3 API, "Amazon S3 multipart upload limits".
inline constexpr std::uint64_t kMaxParts = 10000;
inline constexpr std::uint64_t kMinPartSize = 5 << 20;
inline constexpr std::uint64_t kMaxPartSize = std::uint64_t{5} << 30;

/// @p wanted, grown (in whole MiB) so that kMaxParts hold @p total. Throws data beyond 48.8 TiB.
std::uint64_t part_size_for(std::uint64_t wanted, std::uint64_t total);

/// SHA-256 of the parts, taken while the spool was written; none after a restart.
struct PartHashes {
    std::uint64_t part_size = 0;
    std::vector<std::string> sha256; ///< hex
};

struct PartUpload {
    ObjectStore& store;
    StateDb& db;
    const PushRow& row; ///< key from the caller, upload_id, part_size, blob_size
    std::string key;
    int spool_fd;
    const PartHashes& hashes; ///< used if they are of parts of this size
    int jobs;
    Log& log;
    Progress& progress;
    std::stop_token stop;
    std::uint64_t bytes_sent = 0; ///< result

    /// Sends every part that is not there yet and returns the complete list. A part counts as there
    /// with its size and with the ETag of our own reply, or one that is the MD5 of the spool's
    /// bytes. Throws gone if the upload is unknown.
    std::vector<PartInfo> run();
    /// What is there now: one slot a part, number 0 where it must be sent (again).
    std::vector<PartInfo> stored_parts();

private:
    void send(std::vector<PartInfo>& parts);
    std::string send_part(int number) const;
    std::uint64_t offset(int number) const;
    std::uint64_t size(int number) const;
    int count() const;
    std::string md5_of(int number) const;
};

} // namespace zl
