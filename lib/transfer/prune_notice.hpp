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
///   before, and is there                 the push waits until nobody acts on it, then sees what
///                                        was done
///   before, and is gone                  the deletions are over: the push sees what they did
/// In the last two cases the push has the bytes still. Each prune writes a notice of its own, so
/// two at once change nothing. A push without a name has no ref: its layer is as young as its
/// upload, which a prune looks at in step 2 too, and if there is a mark it uploads anew.
///
/// What dies or stops: a prune deletes nothing once prune_acts() has passed since it began to write
/// its notice (boot-time clock, looked at before every request; requests give up after
/// prune_delete_retry()): it writes a new one and lists again. A push waits until the notice is
/// gone or notice_life() has passed since it saw it. The notice was written before that, so nobody
/// acts on it any more: it is of a dead process. Each host only measures a span, by a clock of its
/// own that nobody sets; what time another host or the store takes it to be does not matter. Left
/// are a process that is stopped for minutes in the instant between looking at the clock and
/// sending one request, and a machine that is paused for minutes without its boot-time clock going
/// on.
///
/// A notice that was left is removed by a prune that finds it older, by times that the store gave,
/// than one of its own by notice_life() and the grace period. Until then it costs each push of a
/// layer that it names (if it cannot be read: each push) notice_life().
///
/// The grace period of the mark is for readers: a pull that found the ref before it was deleted has
/// a day to end. It too is counted between times that the store gave: from those of the layer, its
/// meta.json and its mark to that of the notice.
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

struct PruneNotice {
    std::string key;
    TimePoint written{}; ///< as the store lists it
};
/// @p digests: few enough for a small object, at most kMaxNoticeDigests.
PruneNotice write_prune_notice(ObjectStore& store, const std::string& prefix,
                               const std::vector<std::string>& digests);
inline constexpr std::size_t kMaxNoticeDigests = 1000;

std::vector<PruneNotice> list_prune_notices(ObjectStore& store, const std::string& prefix);

/// Returns when nobody acts any more on a notice that names @p digest and was there at the call:
/// after notice_life() at the latest. Throws Interrupted.
void await_prunes(ObjectStore& store, const std::string& prefix, const std::string& digest,
                  Log& log, std::stop_token stop);

} // namespace zl
