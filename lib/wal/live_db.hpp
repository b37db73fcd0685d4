/// Our side of a live database: three connections, the wal-index, and the descriptors of the files.
/// The only file of this layer that touches SQLite.
///
/// W3  A read transaction is held from begin_read() on; with it nobody can restart the WAL before
/// we
///     have read it (wal.c: a reader in slot >= 1 blocks the reset, one in slot 0 the back-fill).
/// W4  Nothing is written into the database but what SQLite's own checkpoint moves there. Neither
///     the database nor its -shm is ever opened and closed by path here: POSIX locks belong to the
///     process, and the first close() of any descriptor of the file drops them all
///     (https://sqlite.org/howtocorrupt.html section 2.2). The one descriptor of the database that
///     we read pages through is closed after SQLite's. The -wal carries no locks.
/// Every connection: wal_autocheckpoint=0, PERSIST_WAL, NO_CKPT_ON_CLOSE, set before any statement.
/// Not thread-safe, except pread() on the two descriptors.
#pragma once

#include "base/file.hpp"
#include "wal/wal_format.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

struct sqlite3;
struct sqlite3_file;

namespace zl {

/// The wal-index header (https://sqlite.org/walformat.html section 2.1): what is committed.
struct WalIndex {
    std::uint32_t max_frame = 0;  ///< last committed frame; 0: the WAL is empty
    std::uint32_t page_count = 0; ///< of the database, as of max_frame
    std::uint32_t page_size = 0;
    bool big_endian = false; ///< of the WAL's checksums
    WalChecksum checksum;    ///< of frame max_frame
    WalSalt salt;
    std::uint32_t backfilled = 0; ///< frames that are in the database file already
};

class LiveDb {
public:
    struct Options {
        bool enable_wal = false; ///< switch a database in another journal mode
    };
    /// Throws not_found (no such file), data (no database, or encrypted), usage (not in WAL mode),
    /// denied (read-only), transient (locked by another: locking_mode=EXCLUSIVE), io.
    LiveDb(const std::string& path, Options options);
    ~LiveDb();
    LiveDb(const LiveDb&) = delete;
    LiveDb& operator=(const LiveDb&) = delete;

    const std::string& path() const { return path_; } ///< resolved, without symlinks
    std::uint64_t device() const { return device_; }
    std::uint64_t inode() const { return inode_; }
    /// What the paths name now. other: the database was replaced, or its -wal or -shm was removed
    /// or replaced under us (the application makes new ones then, and ours tell nothing any more).
    enum class Place { same, other, absent };
    Place place() const;
    /// Changes whenever somebody writes into the database file.
    struct FileStamp {
        std::int64_t modified_ns = 0, size = 0;
        bool operator==(const FileStamp&) const = default;
    };
    FileStamp file_stamp() const;

    /// Begin to hold the read lock; nothing committed from now on can be missed. Throws transient
    /// when the database is locked.
    void begin_read();
    void end_read();
    /// The read lock at the newest commit instead of where it was. It is held all the time: the new
    /// one is taken before the old one falls. Throws transient; the old one is held then. Internal
    /// if none is held.
    void move_read();
    bool reading() const { return reading_; }

    /// A consistent copy of the wal-index; nullopt while a writer is just changing it.
    std::optional<WalIndex> index();
    /// A process died while it changed the wal-index: let SQLite repair it.
    void nudge();

    /// The barrier: the write lock of a second connection, never used to write. false: somebody
    /// writes just now.
    bool lock_writers(int busy_ms);
    void unlock_writers() noexcept;
    struct Checkpointed {
        int wal_frames = 0, backfilled = 0;
        bool complete() const { return wal_frames == backfilled; }
    };
    /// PASSIVE, on a third connection; only under the barrier. nullopt: busy.
    std::optional<Checkpointed> checkpoint();
    /// What checkpoints wrote into the file becomes durable.
    void sync_file();

    int db_fd() const { return db_fd_.get(); }
    int wal_fd() const { return wal_fd_.get(); }
    std::uint64_t wal_size() const; ///< of the file, in bytes
    std::uint32_t page_size() const { return page_size_; }

private:
    struct Close {
        void operator()(sqlite3* db) const noexcept;
    };
    using Connection = std::unique_ptr<sqlite3, Close>;
    Connection connect();
    void begin_read_on(sqlite3* db);
    void exec(sqlite3* db, const char* sql);
    void require_wal(bool enable);
    void map_index();

    std::string path_;
    // Order matters: the descriptor of the database is closed last.
    UniqueFd db_fd_;
    UniqueFd wal_fd_;
    Connection reader_, spare_, barrier_, checkpointer_;
    const volatile std::uint32_t* index_ = nullptr; ///< SQLite's own mapping
    bool reading_ = false;
    std::uint32_t page_size_ = 0;
    std::uint64_t device_ = 0, inode_ = 0;
    std::uint64_t shm_inode_ = 0;
};

/// Whether this SQLite has the WAL-reset bug (https://sqlite.org/wal.html, "walresetbug"; fixed in
/// 3.51.3, 3.50.7, 3.44.6): harmless to us (W3), not to the application.
bool has_wal_reset_bug();

} // namespace zl
