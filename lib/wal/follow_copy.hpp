/// The file of a follower: a copy of the source that others read through SQLite while it is brought
/// from one state to the next, each a transaction of its own.
///
/// It is in rollback-journal mode (bytes 18 and 19 of page 1 are 1), so that a reader holds a
/// shared lock and none needs -wal and -shm; its change counter is ours. Steps of apply(), and what
/// a kill leaves (SQLite's file format, section 3):
///   1 locked     EXCLUSIVE, through a connection                          as before
///   2 proved     new pages and old ones are read, the sum is right       as before
///   3 journal    old pages in FILE-journal; not valid before its count is synced, last
///   4 written    new pages in FILE, synced                               hot journal: rolled back
///   by 5 noted      state of before and after in .FILE.zl-follow             the next one who may
///   write 6 committed  the journal is removed                                  as after
/// Which state FILE has, if a kill leaves that open, its change counter tells.
#pragma once

#include "state/sqlite.hpp"
#include "wal/page_writer.hpp"
#include "wal/segment_spool.hpp"

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

namespace zl {

/// Bytes of page 1 that differ between the source and the copy: 18-19, 24-31, 92-95.
using HeaderFields = std::array<std::byte, 14>;

struct FollowState {
    SegmentLink link; ///< the state that FILE has
    std::uint32_t counter = 0;
    HeaderFields source{}; ///< what the source has there
};

class FollowCopy {
public:
    /// @p file as installed by begin() at some time; nullopt: absent. Rolls back what a kill left.
    /// Throws exists when there is a file that is not ours, or that was changed by somebody else.
    static std::optional<FollowCopy> open(const std::string& file, std::stop_token stop);
    /// Makes @p db, a restored database of state @p link that nobody uses yet, the copy of @p file:
    /// its header is changed and the state noted. The caller then gives it its name.
    static FollowCopy begin(const std::string& file, const std::string& db, const SegmentLink& link,
                            std::stop_token stop);

    const SegmentLink& link() const { return state_.link; }

    /// To state @p to. @p pages calls its visitor for each new page, the newest version first; it
    /// is called twice. Waits for readers. Throws data when the sum does not become to.after
    /// (nothing was changed), Interrupted.
    using Pages = std::function<void(const PageVisitor&)>;
    void apply(const SegmentLink& to, const Pages& pages);
    /// The same with a whole database file of that state.
    void apply_file(const SegmentLink& to, const std::string& db);

private:
    FollowCopy(std::string file, FollowState state, std::stop_token stop)
        : file_(std::move(file)), state_(std::move(state)), stop_(std::move(stop)) {}
    class Change;

    std::string file_;
    FollowState state_;
    std::stop_token stop_;
};

} // namespace zl
