#include "layer/big_file.hpp"

#include "layer/file_holes.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace zl {

namespace {

/// Below this a file cannot have holes that are worth it (is_worth_sparse).
constexpr std::uint64_t kMinScan = 1 << 20;

} // namespace

BigFileStreamer::BigFileStreamer(PackState& state)
    : state_(state), loader_(state), thread_([this] { run(); }) {}

BigFileStreamer::~BigFileStreamer() {
    abort();
    thread_.join();
}

BigFilePtr BigFileStreamer::request(const PackItem& item) {
    auto file = std::make_shared<BigFile>(item);
    std::lock_guard lock(mutex_);
    queue_.push_back(file);
    reader_wake_.notify_one();
    return file;
}

bool BigFileStreamer::wait_described(BigFile& file) {
    std::unique_lock lock(mutex_);
    taker_wake_.wait(lock, [&] { return is_aborted_ || file.stage != BigFile::Stage::waiting; });
    if (is_aborted_)
        throw Interrupted();
    if (file.error)
        std::rethrow_exception(file.error);
    return file.stage != BigFile::Stage::left_out;
}

bool BigFileStreamer::next_chunk(BigFile& file, std::vector<std::byte>& chunk) {
    std::unique_lock lock(mutex_);
    if (!chunk.empty())
        free_.push_back(std::move(chunk));
    taker_wake_.wait(lock, [&] {
        return is_aborted_ || !file.chunks.empty() || file.stage == BigFile::Stage::ended;
    });
    if (is_aborted_)
        throw Interrupted();
    if (file.chunks.empty()) {
        if (file.error)
            std::rethrow_exception(file.error);
        return false;
    }
    chunk = std::move(file.chunks.front());
    file.chunks.pop_front();
    --chunks_ahead_;
    reader_wake_.notify_one();
    return true;
}

void BigFileStreamer::abort() {
    std::lock_guard lock(mutex_);
    is_aborted_ = true;
    reader_wake_.notify_all();
    taker_wake_.notify_all();
}

void BigFileStreamer::check_abort() const {
    if (is_aborted_)
        throw Interrupted();
}

void BigFileStreamer::set_stage(BigFile& file, BigFile::Stage stage) {
    std::lock_guard lock(mutex_);
    file.stage = stage;
    taker_wake_.notify_all();
}

void BigFileStreamer::run() {
    for (;;) {
        BigFilePtr file;
        {
            std::unique_lock lock(mutex_);
            reader_wake_.wait(lock, [&] { return is_aborted_ || !queue_.empty(); });
            if (is_aborted_)
                return;
            file = std::move(queue_.front());
            queue_.pop_front();
        }
        try {
            read(*file);
        } catch (...) {
            file->error = std::current_exception();
            set_stage(*file, BigFile::Stage::ended);
        }
    }
}

void BigFileStreamer::read(BigFile& file) {
    PackItem& item = file.item;
    OpenFile open;
    had_error_ = false;
    const auto opened = loader_.open_regular(item, open);
    if (opened == EntryLoader::Opened::other_type)
        item.notes.push_back(
            {PackNote::Kind::changed, item.path(), "changed its type while it was read"});
    SparseMap map;
    if (opened != EntryLoader::Opened::yes || !scan(file, open, map))
        return set_stage(file, BigFile::Stage::left_out);
    describe_file(file, open, map);
    set_stage(file, BigFile::Stage::described);
    stream(file, open, map);
    FileMeta after;
    const int err = stat_at(open.data_fd(), "", after);
    if (!had_error_ && (err != 0 || !is_same_version(open.data_meta, after)))
        item.notes.push_back({PackNote::Kind::changed, item.path(), "changed while it was read"});
    file.sha256 = hash_->finish();
    set_stage(file, BigFile::Stage::ended);
}

/// First pass, where it matters: which parts are zero. Content decides; what the file system knows
/// as a hole is merely not read. What is not kept for the second pass the page cache has by then,
/// unless the file is bigger than memory.
bool BigFileStreamer::scan(BigFile& file, OpenFile& open, SparseMap& map) {
    const int fd = open.data_fd();
    const std::uint64_t size = open.meta.size;
    map = {size, size, {{0, size}}};
    posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    drop_kept();
    const bool is_wanted =
        state_.options.sparse == PackOptions::Sparse::always ||
        (state_.options.sparse == PackOptions::Sparse::automatic && size >= kMinScan);
    ZeroScanner scanner;
    if (!is_wanted) {
        // Only to see whether it can be read at all: later the entry could not be left out.
        kept_.push_back(read_piece(file, fd, 0, size));
    } else {
        const FileHoles holes(fd, open.data_meta);
        std::uint64_t kept_size = 0;
        for (std::uint64_t at = 0; at < size && !had_error_;) {
            const FileHoles::Range data = holes.next(at);
            scanner.skip(data.begin - at);
            for (at = data.begin; at < data.end && !had_error_;) {
                std::vector<std::byte> piece = read_piece(file, fd, at, data.end);
                scanner.feed(piece);
                const bool keep = at == kept_size && kept_.size() < kBigChunksKept;
                at += piece.size();
                if (keep) {
                    kept_size = at;
                    kept_.push_back(std::move(piece));
                } else {
                    give_back(std::move(piece));
                }
            }
        }
    }
    if (had_error_)
        return false;
    if (!is_wanted)
        return true;
    SparseMap found = scanner.finish();
    const bool use = state_.options.sparse == PackOptions::Sparse::always ? found.hole_size() != 0
                                                                          : is_worth_sparse(found);
    if (use)
        map = std::move(found);
    return true;
}

void BigFileStreamer::describe_file(BigFile& file, OpenFile& open, const SparseMap& map) {
    file.header = std::move(open.header);
    if (map.hole_size() != 0) {
        file.map_text = sparse_map_text(map);
        set_sparse(file.header, map, file.map_text);
    }
}

void BigFileStreamer::stream(BigFile& file, OpenFile& open, const SparseMap& map) {
    hash_.emplace();
    hash_->update(as_bytes(file.map_text));
    if (map.hole_size() != 0)
        drop_kept();
    for (const Extent& e : map.data) {
        for (std::uint64_t at = e.offset; at < e.offset + e.size;) {
            std::vector<std::byte> chunk;
            if (kept_.empty()) {
                chunk = read_piece(file, open.data_fd(), at, e.offset + e.size);
            } else {
                chunk = std::move(kept_.front());
                kept_.pop_front();
            }
            hash_->update(chunk);
            at += chunk.size();
            put_chunk(file, std::move(chunk));
        }
    }
}

void BigFileStreamer::drop_kept() {
    for (; !kept_.empty(); kept_.pop_front())
        give_back(std::move(kept_.front()));
}

void BigFileStreamer::give_back(std::vector<std::byte> chunk) {
    std::lock_guard lock(mutex_);
    free_.push_back(std::move(chunk));
}

/// One chunk from @p at, shorter only before @p end.
std::vector<std::byte> BigFileStreamer::read_piece(BigFile& file, int fd, std::uint64_t at,
                                                   std::uint64_t end) {
    std::vector<std::byte> piece = take_buffer();
    piece.resize(static_cast<std::size_t>(std::min<std::uint64_t>(kBigChunk, end - at)));
    read_chunk(file, fd, at, piece);
    return piece;
}

/// Fills @p chunk, with zeros where the file is shorter by now or cannot be read; false: an error,
/// which is noted once per file.
bool BigFileStreamer::read_chunk(BigFile& file, int fd, std::uint64_t offset,
                                 std::span<std::byte> chunk) {
    std::size_t done = 0;
    while (done < chunk.size()) {
        const ssize_t n =
            pread(fd, chunk.data() + done, chunk.size() - done, static_cast<off_t>(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && !had_error_) {
            had_error_ = true;
            file.item.notes.push_back(
                {PackNote::Kind::unreadable, file.item.path(), "unreadable: " + errno_text(errno)});
        }
        if (n <= 0)
            break;
        done += static_cast<std::size_t>(n);
    }
    std::fill(chunk.begin() + static_cast<std::ptrdiff_t>(done), chunk.end(), std::byte{0});
    return !had_error_;
}

std::vector<std::byte> BigFileStreamer::take_buffer() {
    check_abort();
    std::lock_guard lock(mutex_);
    if (free_.empty())
        return std::vector<std::byte>(kBigChunk);
    std::vector<std::byte> buffer = std::move(free_.back());
    free_.pop_back();
    buffer.resize(kBigChunk);
    return buffer;
}

void BigFileStreamer::put_chunk(BigFile& file, std::vector<std::byte> chunk) {
    std::unique_lock lock(mutex_);
    file.chunks.push_back(std::move(chunk));
    ++chunks_ahead_;
    taker_wake_.notify_all();
    reader_wake_.wait(lock, [&] { return is_aborted_ || chunks_ahead_ < kBigChunksAhead; });
    if (is_aborted_)
        throw Interrupted();
}

} // namespace zl
