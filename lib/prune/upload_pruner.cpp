#include "prune/upload_pruner.hpp"

#include "base/crash_point.hpp"
#include "base/error.hpp"
#include "store/name.hpp"
#include "stream/hash.hpp"
#include "wal/replica_keys.hpp"

#include <algorithm>
#include <optional>
#include <set>

namespace zl {

namespace {

bool is_digest(std::string_view text) {
    auto digest = Digest::from_hex(text);
    return digest && digest->hex() == text;
}

/// A key that zl-push or zl-walship uploads in parts. @p rest: what follows the prefix.
bool is_ours(const std::string& key, const std::string& prefix) {
    const std::string_view rest = std::string_view(key).substr(prefix.size());
    if (rest.size() == 72 && rest.ends_with(".tar.zst") && is_digest(rest.substr(0, 64)))
        return true;
    if (rest.starts_with("raw/") && is_digest(rest.substr(4)))
        return true;
    // db/NAME/, or the prefix of one database
    for (std::string_view dir : {"/snapshots/", "/wal/", "/merged/"}) {
        const auto at = ("/" + std::string(rest)).find(dir);
        if (at == std::string::npos || (at != 0 && !is_db_name(rest.substr(0, at - 1))))
            continue;
        ReplicaKeys keys(key.substr(0, prefix.size() + at));
        if (keys.parse_snapshot(key) || keys.parse_segment(key) || keys.parse_merged(key))
            return true;
    }
    return false;
}

/// nullopt: it is gone.
std::optional<StaleUpload> look(ObjectStore& store, const UploadInfo& upload) {
    StaleUpload s{upload, upload.initiated, 0};
    try {
        for (const PartInfo& p : store.list_parts(upload.key, upload.upload_id)) {
            s.newest = std::max(s.newest, p.last_modified);
            s.bytes += p.size;
        }
    } catch (const Error& e) {
        if (e.kind() != ErrorKind::gone)
            throw;
        return std::nullopt;
    }
    return s;
}

} // namespace

std::vector<StaleUpload> stale_uploads(ObjectStore& store, const std::string& prefix, TimePoint now,
                                       Millis older, StateDb* own) {
    std::set<std::string> under_way;
    if (own)
        for (const PushRow& row : own->pushes())
            if (row.store == store.identity())
                under_way.insert(row.upload_id);
    std::vector<StaleUpload> out;
    for (const UploadInfo& u : store.list_uploads(prefix)) {
        if (!is_ours(u.key, prefix) || now - u.initiated <= older ||
            under_way.contains(u.upload_id))
            continue;
        auto s = look(store, u);
        if (s && now - s->newest > older)
            out.push_back(std::move(*s));
    }
    return out;
}

void abort_stale_uploads(ObjectStore& store, const std::vector<StaleUpload>& uploads,
                         PruneTotals& totals, std::stop_token stop) {
    for (const StaleUpload& u : uploads) {
        if (stop.stop_requested())
            throw Interrupted();
        auto s = look(store, u.upload);
        if (!s || s->newest != u.newest)
            continue;
        store.abort_upload(u.upload.key, u.upload.upload_id);
        ++totals.objects, totals.bytes += s->bytes;
        crash_point("prune.upload");
    }
}

} // namespace zl
