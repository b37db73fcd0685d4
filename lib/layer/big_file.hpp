/// Streams big files from a thread of their own, so that reading and hashing a file overlap with
/// compressing it; a bounded number of chunks ahead, across the ends of files.
#pragma once

#include "layer/entry_loader.hpp"
#include "layer/sparse_map.hpp"
#include "stream/hash.hpp"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace zl {

inline constexpr std::size_t kBigChunk = 512 << 10;
inline constexpr std::size_t kBigChunksAhead = 32;
/// Of what the first pass reads, the first pieces are kept: files of up to 8 MiB are read once.
inline constexpr std::size_t kBigChunksKept = 16;

/// A file on its way. Fields belong to the reader until the stage is reached.
struct BigFile {
    explicit BigFile(const PackItem& packed) : item(packed) {}
    PackItem item; ///< meta: from `described` on; notes: from `left_out` or `ended` on

    enum class Stage { waiting, described, left_out, ended };
    Stage stage = Stage::waiting;
    TarHeader header;     ///< from `described` on
    std::string map_text; ///< precedes the content in the tar if it is sparse
    std::deque<std::vector<std::byte>> chunks;
    Digest sha256; ///< of map_text and chunks, from `ended` on
    std::exception_ptr error;
};
using BigFilePtr = std::shared_ptr<BigFile>;

class BigFileStreamer {
public:
    explicit BigFileStreamer(PackState& state);
    ~BigFileStreamer();

    /// Queues a copy of @p item (result `big`).
    BigFilePtr request(const PackItem& item);
    /// Waits until header and map_text are there; false: left out.
    bool wait_described(BigFile& file);
    /// The next piece of content into @p chunk (whose memory is used again); false at the end.
    bool next_chunk(BigFile& file, std::vector<std::byte>& chunk);
    void abort();

private:
    void run();
    void read(BigFile& file);
    bool scan(BigFile& file, OpenFile& open, SparseMap& map);
    void stream(BigFile& file, OpenFile& open, const SparseMap& map);
    std::vector<std::byte> read_piece(BigFile& file, int fd, std::uint64_t at, std::uint64_t end);
    void drop_kept();
    void give_back(std::vector<std::byte> chunk);
    bool read_chunk(BigFile& file, int fd, std::uint64_t offset, std::span<std::byte> chunk);
    void describe_file(BigFile& file, OpenFile& open, const SparseMap& map);
    std::vector<std::byte> take_buffer();
    void put_chunk(BigFile& file, std::vector<std::byte> chunk);
    void set_stage(BigFile& file, BigFile::Stage stage);
    void check_abort() const;

    PackState& state_;
    EntryLoader loader_;
    std::optional<Hasher> hash_; ///< of the file being read
    bool had_error_ = false;     ///< the file being read: noted once
    /// The file being read: its first pieces, without gap, as the first pass saw them.
    std::deque<std::vector<std::byte>> kept_;
    std::mutex mutex_;
    std::condition_variable reader_wake_, taker_wake_;
    std::deque<BigFilePtr> queue_;
    std::vector<std::vector<std::byte>> free_;
    std::size_t chunks_ahead_ = 0;
    std::atomic<bool> is_aborted_ = false;
    std::thread thread_;
};

} // namespace zl
