/// One push from its spool to its name in the store: the state machine of zl-push.
///
///   state       durable by then                        a kill -9 here leaves
///   spooling    row; some bytes of the spool           nobody's data: the next run deletes it (the
///                                                      producer did not end well, or we saw no
///                                                      end)
///   spooled     the whole spool (fdatasync), digest,   the next run uploads it; no input needed
///               the time of the ref
///   creating    the intent to create an upload         an upload whose id we do not know: those
///                                                      begun in our window become suspects, never
///                                                      adopted
///   uploading   upload id, part size; a row per part   parts: listed and compared, at most `jobs`
///               whose reply we saw                     of them sent again
///   completing  the intent to complete (or, without    the object is looked at: right -> stored,
///               an upload id, to PUT)                  else completed again / sent again
///   stored      the object is there, by the reply      the object is looked at: right -> meta.json
///                                                      is written (again), else sent again
///   described   meta.json                              the ref is written (again: same key, text)
///   named       the ref                                prunes are waited for, the layer is looked
///                                                      at (prune_notice.hpp): gone -> spooled
///   done        the layer is there, its ref too        row and perhaps spool: the next run deletes
///                                                      the spool (durably), then the row
///
/// Each arrow is a transaction before the request it announces (I3). Every step may be repeated.
///
/// A row exists before its spool and after it: whatever dies, no spool is without its row. So a
/// spool that no row knows is of another state database, or of one that was lost, and a row between
/// `spooled` and `named` without its spool is one whose disk is not mounted: both may be somebody's
/// only copy. A push tells of them and leaves them (I6); zl-prune --local removes them once it has
/// found them like that for its whole grace period (spool_sweep.hpp).
#pragma once

#include "base/file.hpp"
#include "base/report.hpp"
#include "state/state_db.hpp"
#include "store/object_store.hpp"
#include "transfer/part_upload.hpp"

#include <stop_token>
#include <string>
#include <vector>

namespace zl {

struct PushOutcome {
    std::string digest;
    std::string kind;
    std::string key;
    std::string name;
    std::uint64_t size_bytes = 0;
    std::uint64_t compressed_size_bytes = 0; ///< of the stored object
    std::uint64_t bytes_sent = 0;            ///< of the layer itself
    bool already_stored = false;
    bool resumed = false;
    bool incomplete = false;
};

class PushJob {
public:
    /// @p row is pending; the caller holds the lock of its spool. @p hashes: of this process' own
    /// spooling; without a part size the spool is an earlier one's, and proved before it is sent.
    /// Throws SpoolError when the spool is not there.
    PushJob(ObjectStore& store, StateDb& db, PushRow row, PartHashes hashes, int jobs, Log& log,
            Progress& progress, std::stop_token stop);
    /// From the row's state to done. Throws with the row as far as it came; run again to continue.
    PushOutcome run();

private:
    void step();
    void enter(const char* state);
    std::string key() const;
    std::string meta_key() const;
    std::string doomed_key() const;
    PutOptions put_options() const;

    bool already_stored();
    bool object_is_ours(const std::optional<ObjectInfo>& object) const;
    bool is_right(std::optional<ObjectInfo>& object);
    bool object_is_right();
    void prove();
    void start_over(const std::string& reason);

    void choose_way();
    void put_whole();
    void create();
    void recover_creating();
    void upload();
    void complete();
    PartUpload part_upload();
    void describe();
    void name();
    bool survived_prunes();
    void clean_up();

    ObjectStore& store_;
    StateDb& db_;
    PushRow row_;
    PartHashes hashes_;
    int jobs_;
    Log& log_;
    Progress& progress_;
    std::stop_token stop_;
    UniqueFd spool_;
    bool proved_; ///< the spool holds what came in
    PushOutcome outcome_;
    std::vector<PartInfo> parts_; ///< of the upload, once this run knows them
    bool looked_ = false;         ///< this run looked whether the object is already there
    int starts_ = 0;
};

} // namespace zl
