/// How a push and a deletion of the same layer keep out of each other's way, on stores that know
/// neither locks nor conditional deletes. Both rely on A2 of object_store.hpp only: what was
/// written is seen by whoever lists later.
///
///   a prune                                      a push
///   1 writes a notice that names the digests     1 stores layer and meta.json (or finds them)
///   2 lists the refs: named ones are spared      2 writes its ref
///   3 deletes layer, meta.json, mark             3 lists the notices: one that names its layer is
///   4 deletes the notice                           waited for until it is gone
///                                                4 looks at layer and meta.json: what is not there
///                                                  is stored again from the spool, then from 2
///                                                5 only then deletes its spool
///
/// No layer that a ref names is lost. For each deletion that would hit the layer of a push, look at
/// when its notice was written:
///   after the push listed the notices    then its list of the refs is younger still and has the
///                                        ref: it deletes nothing
///   before, and is there                 the push waits for its end, then sees what it did
///   before, and is gone                  the deletions are over: the push sees what they did
/// In the last two cases the push has the bytes still. Each prune writes a notice of its own, so
/// two at once change nothing. A push without a name has no ref: its layer is as young as its
/// upload, which a prune looks at in step 2 too, and if there is a mark it uploads anew.
///
/// What dies or stops: a prune deletes nothing once prune_acts() has passed since it began to write
/// its notice (boot-time clock, looked at before every request; requests give up after
/// prune_delete_retry()): it writes a new one and lists again. So after notice_life() (by the
/// store's clock) nobody acts on a notice: it is of a dead process, a push ignores it, the next
/// prune removes it. Left is a process that is stopped for minutes in the instant between looking
/// at the clock and sending one request.
///
/// The grace period of the mark is for readers: a pull that found the ref before it was deleted has
/// a day to end.
#pragma once

#include "base/report.hpp"
#include "store/object_store.hpp"

#include <stop_token>
#include <string>
#include <vector>

namespace zl {

/// 5 minutes (a test build takes ZL_TEST_NOTICE_LIFE), and what follows from it: 1 minute, 30 s.
Millis notice_life();
inline Millis prune_acts() {
    return notice_life() / 5;
}
inline Millis prune_delete_retry() {
    return notice_life() / 10;
}

/// Returns its key. @p digests: few enough for a small object, at most kMaxNoticeDigests.
std::string write_prune_notice(ObjectStore& store, const std::string& prefix,
                               const std::vector<std::string>& digests);
inline constexpr std::size_t kMaxNoticeDigests = 1000;

/// Keys of notices that nobody acts on any more.
std::vector<std::string> dead_prune_notices(ObjectStore& store, const std::string& prefix);

/// Returns when no notice names @p digest any more that was there at the call. Throws Interrupted.
void await_prunes(ObjectStore& store, const std::string& prefix, const std::string& digest,
                  Log& log, std::stop_token stop);

} // namespace zl
