#include "transfer/push_job.hpp"

#include "base/crash_point.hpp"
#include "base/error.hpp"
#include "base/json.hpp"
#include "transfer/layer_keys.hpp"
#include "transfer/layer_meta.hpp"
#include "transfer/prune_notice.hpp"
#include "transfer/refs.hpp"
#include "transfer/spool_file.hpp"
#include "transfer/stored_layer.hpp"

#include <algorithm>
#include <chrono>

namespace zl {

namespace {

constexpr int kMaxStarts = 3;
constexpr int kMaxCompletes = 5;
constexpr int kMaxLooks = 10;

} // namespace

PushJob::PushJob(ObjectStore& store, StateDb& db, PushRow row, PartHashes hashes, int jobs,
                 Log& log, Progress& progress, std::stop_token stop)
    : store_(store), db_(db), row_(std::move(row)), hashes_(std::move(hashes)), jobs_(jobs),
      log_(log), progress_(progress), stop_(std::move(stop)),
      spool_(open_spool(row_)), proved_(hashes_.part_size != 0) {
    outcome_.digest = row_.digest;
    outcome_.kind = row_.kind;
    outcome_.key = key();
    outcome_.name = row_.name;
    outcome_.size_bytes = row_.size_bytes;
    outcome_.incomplete = row_.incomplete;
    outcome_.resumed = row_.state != "spooled";
}

std::string PushJob::key() const {
    return row_.kind == "raw" ? raw_key(row_.prefix, row_.digest)
                              : layer_key(row_.prefix, row_.digest);
}

std::string PushJob::meta_key() const {
    return row_.kind == "raw" ? raw_meta_key(row_.prefix, row_.digest)
                              : layer_meta_key(row_.prefix, row_.digest);
}

std::string PushJob::doomed_key() const {
    return row_.kind == "raw" ? raw_doomed_key(row_.prefix, row_.digest)
                              : layer_doomed_key(row_.prefix, row_.digest);
}

PutOptions PushJob::put_options() const {
    PutOptions o;
    o.content_type = row_.kind == "raw" ? "application/octet-stream" : "application/zstd";
    o.meta[kBlobSha256Meta] = row_.blob_sha256;
    o.meta["zl-digest"] = row_.digest;
    o.on_bytes = [this](std::int64_t n) { progress_.advance(n); };
    return o;
}

PushOutcome PushJob::run() {
    try {
        while (row_.state != "done")
            step();
    } catch (const Error& e) {
        row_.last_error = e.what();
        db_.update_push(row_);
        throw;
    }
    return outcome_;
}

void PushJob::step() {
    if (stop_.stop_requested())
        throw Interrupted();
    if (row_.state == "spooled")
        choose_way();
    else if (row_.state == "creating")
        recover_creating();
    else if (row_.state == "uploading")
        upload();
    else if (row_.state == "completing")
        row_.upload_id.empty() ? put_whole() : complete();
    else if (row_.state == "stored")
        describe();
    else if (row_.state == "described")
        name();
    else if (row_.state == "named")
        clean_up();
    else
        throw Error(ErrorKind::data, "push " + std::to_string(row_.id) + ": unknown state \"" +
                                         row_.state + "\" in the state database");
}

void PushJob::enter(const char* state) {
    row_.state = state;
    db_.update_push(row_);
    crash_point(std::string("push.") + state);
}

// ----------------------------------------------------------------------------- what is in the
// store

bool PushJob::object_is_ours(const std::optional<ObjectInfo>& o) const {
    if (!o || o->size != row_.blob_size)
        return false;
    auto sha = o->meta.find(kBlobSha256Meta);
    return sha != o->meta.end() && sha->second == row_.blob_sha256;
}

/// The object holds what we push: our own bytes, or other compressed bytes of the same tar. Where
/// another push of it replaces the object while we look, @p o becomes the new one.
bool PushJob::is_right(std::optional<ObjectInfo>& o) {
    for (int look = 1;; ++look) {
        if (object_is_ours(o))
            return true;
        if (!o || row_.kind != "layer")
            return false;
        try {
            std::optional<LayerEnd> end = read_layer_end(store_, *o);
            return end && end->trailer.digest.hex() == row_.digest &&
                   end->trailer.size_bytes == row_.size_bytes;
        } catch (const Error& e) {
            if (e.kind() != ErrorKind::conflict || look == kMaxLooks)
                throw;
        }
        o = store_.head(key());
    }
}

bool PushJob::object_is_right() {
    std::optional<ObjectInfo> o = store_.head(key());
    return is_right(o);
}

bool PushJob::already_stored() {
    if (row_.force)
        return false;
    std::optional<ObjectInfo> o = store_.head(key());
    if (!o)
        return false;
    std::optional<LayerMeta> meta;
    try {
        meta = read_layer_meta(store_, meta_key());
    } catch (const Error& e) {
        if (e.kind() != ErrorKind::data)
            throw;
        return false;
    }
    if (meta && meta->compressed_size_bytes != o->size) {
        log_.warn(store_.describe(key()) + " has " + std::to_string(o->size) +
                  " bytes, its metadata says " + std::to_string(meta->compressed_size_bytes) +
                  ": uploading it again");
        return false;
    }
    return is_right(o);
}

void PushJob::start_over(const std::string& reason) {
    if (++starts_ > kMaxStarts)
        throw Error(ErrorKind::transient,
                    reason + " (started over " + std::to_string(kMaxStarts) + " times)");
    log_.info(reason + "; starting the upload over");
    if (!row_.upload_id.empty())
        store_.abort_upload(key(), row_.upload_id);
    db_.delete_parts(row_.id);
    parts_.clear();
    row_.upload_id.clear();
    outcome_.already_stored = false;
    enter("spooled");
}

// -------------------------------------------------------------------------------------- the states

void PushJob::choose_way() {
    looked_ = true;
    if (already_stored()) {
        outcome_.already_stored = true;
        log_.notice("sha256:" + row_.digest + " is already stored");
        return enter("stored");
    }
    if (row_.blob_size <= std::max(row_.part_size, store_.preferred_put_limit()))
        return enter("completing");
    create();
}

/// I2: what a disk made of the bytes since an earlier run took them in would be sent as if it were
/// them.
void PushJob::prove() {
    if (!proved_)
        prove_spool(row_, spool_.get(), progress_, stop_);
    proved_ = true;
}

void PushJob::put_whole() {
    // A run that died here may have stored it; choose_way() of this run has just looked.
    if (!looked_ && !row_.force && object_is_right())
        return enter("stored");
    prove();
    FileBody bytes(spool_.get(), 0, row_.blob_size, row_.spool);
    HashedBody body(bytes, row_.blob_sha256);
    progress_.begin("uploading", row_.blob_size);
    store_.put(key(), body, put_options());
    outcome_.bytes_sent += row_.blob_size;
    crash_point("push.completed");
    enter("stored");
}

void PushJob::create() {
    row_.part_size = part_size_for(row_.part_size, row_.blob_size);
    row_.creating_at = format_rfc3339(now_wall() + store_.clock_offset());
    enter("creating");
    row_.upload_id = store_.create_upload(key(), put_options());
    crash_point("push.created");
    enter("uploading");
}

/// The reply to our Create was lost. Uploads of this key begun since may be ours, or another host's
/// that pushes the same layer: note them, never adopt or abort them now.
void PushJob::recover_creating() {
    TimePoint since = parse_time(row_.creating_at) - std::chrono::minutes(1);
    for (const UploadInfo& u : store_.list_uploads(key()))
        if (u.key == key() && u.initiated >= since)
            db_.add_suspect({row_.store, u.key, u.upload_id});
    row_.upload_id.clear();
    enter("spooled");
}

void PushJob::upload() {
    prove();
    PartUpload upload = part_upload();
    auto count_sent = [&] { outcome_.bytes_sent += upload.bytes_sent; };
    try {
        parts_ = upload.run();
        count_sent();
    } catch (const Error& e) {
        count_sent();
        if (e.kind() != ErrorKind::gone)
            throw;
        if (object_is_right())
            return enter("stored");
        return start_over("the upload is gone (aborted by somebody, or by a lifecycle rule)");
    }
    enter("completing");
}

void PushJob::complete() {
    for (int attempt = 1;; ++attempt) {
        try {
            if (parts_.empty())
                parts_ = part_upload().stored_parts();
            if (std::any_of(parts_.begin(), parts_.end(), [](auto& p) { return !p.number; })) {
                parts_.clear();
                return enter("uploading");
            }
            store_.complete_upload(key(), row_.upload_id, parts_);
            crash_point("push.completed");
            return enter("stored");
        } catch (const Error& e) {
            bool unsure = e.kind() == ErrorKind::transient || e.kind() == ErrorKind::gone ||
                          e.kind() == ErrorKind::data || e.kind() == ErrorKind::conflict;
            if (!unsure)
                throw;
            // I5: an ambiguous reply is settled by looking at the object, never by its existence.
            if (object_is_right())
                return enter("stored");
            if (e.kind() != ErrorKind::transient)
                return start_over(std::string("completing failed: ") + e.what());
            if (attempt == kMaxCompletes)
                throw;
            log_.info(std::string("completing again: ") + e.what());
        }
    }
}

PartUpload PushJob::part_upload() {
    return {store_, db_, row_, key(), spool_.get(), hashes_, jobs_, log_, progress_, stop_};
}

void PushJob::describe() {
    std::optional<ObjectInfo> o = store_.head(key());
    if (!o)
        return start_over("the object vanished after it was stored");
    if (!is_right(o)) // I2: the store's word is not the proof
        return start_over("the stored object is not what was sent");
    LayerMeta m;
    m.digest = row_.digest;
    m.size_bytes = row_.size_bytes;
    m.compressed_size_bytes = o->size;
    m.file_count = row_.file_count;
    m.kind = row_.kind;
    m.incomplete = row_.incomplete;
    m.tags = row_.tags;
    m.created_at = row_.created_at;
    if (auto sha = o->meta.find(kBlobSha256Meta); sha != o->meta.end())
        m.blob_sha256 = sha->second;
    outcome_.compressed_size_bytes = o->size;

    std::optional<LayerMeta> there;
    try {
        there = read_layer_meta(store_, meta_key());
    } catch (const Error& e) {
        if (e.kind() != ErrorKind::data)
            throw; // a damaged one is replaced
    }
    bool same = there && there->digest == m.digest && there->size_bytes == m.size_bytes &&
                there->compressed_size_bytes == m.compressed_size_bytes &&
                there->blob_sha256 == m.blob_sha256 && (m.tags == "{}" || m.tags == there->tags);
    if (!same)
        put_text(store_, meta_key(), encode_layer_meta(m));
    enter("described");
}

void PushJob::name() {
    if (!row_.name.empty()) {
        Ref ref;
        ref.name = row_.name;
        ref.digest = row_.digest;
        ref.kind = row_.kind;
        const auto time = parse_key_time(row_.ref_time);
        if (!time)
            throw Error(ErrorKind::data, "push " + std::to_string(row_.id) + ": bad time \"" +
                                             row_.ref_time + "\" in the state database");
        ref.created_at = *time;
        ref.tags = row_.tags;
        ref.incomplete = row_.incomplete;
        write_ref(store_, row_.prefix, ref);
    }
    enter("named");
}

/// prune_notice.hpp says why this order keeps what the ref names.
bool PushJob::survived_prunes() {
    await_prunes(store_, row_.prefix, row_.digest, log_, stop_);
    crash_point("push.looked");
    bool object = false, meta = false, doomed = false;
    store_.list(digest_prefix(row_.prefix, row_.digest, row_.kind == "raw"), {},
                [&](const ObjectInfo& o) {
                    object = object || o.key == key();
                    meta = meta || o.key == meta_key();
                    doomed = doomed || o.key == doomed_key();
                    return true;
                });
    if (row_.name.empty() && doomed && !row_.force) {
        // No ref takes the mark back: what is to be kept for a while must be young.
        row_.force = true;
        return false;
    }
    return object && meta;
}

void PushJob::clean_up() {
    if (!survived_prunes())
        return start_over("zl-prune deleted the layer meanwhile, or is about to");
    enter("done");
    try {
        forget_push(db_, row_);
    } catch (const Error& e) { // the push is done; the next run tries again
        log_.warn(e.what());
    }
}

} // namespace zl
