#include "inventory/uploads.hpp"

#include "base/error.hpp"
#include "base/parallel.hpp"
#include "store/name.hpp"
#include "stream/hash.hpp"
#include "wal/replica_keys.hpp"

#include <algorithm>
#include <tuple>

namespace zl {

namespace {

bool is_database_key(const std::string& key) {
    if (!key.starts_with("db/"))
        return false;
    for (const char* directory : {"/snapshots/", "/wal/", "/merged/"}) {
        const auto at = key.rfind(directory);
        if (at == std::string::npos || at < 3 || !is_db_name(key.substr(3, at - 3)))
            continue;
        const ReplicaKeys keys(key.substr(0, at + 1));
        if (keys.parse_snapshot(key) || keys.parse_segment(key) || keys.parse_merged(key))
            return true;
    }
    return false;
}

std::string kind_of(const std::string& key, const std::string& prefix) {
    if (key.starts_with(prefix)) {
        const std::string rest = key.substr(prefix.size());
        if (rest.starts_with("raw/") && Digest::from_hex(rest.substr(4)))
            return "raw";
        if (rest.ends_with(".tar.zst") && Digest::from_hex(rest.substr(0, rest.size() - 8)))
            return "layer";
    }
    return is_database_key(key) ? "database" : "foreign";
}

} // namespace

std::vector<UploadRow> list_open_uploads(ObjectStore& store, const std::string& layer_prefix,
                                         int jobs, std::stop_token stop) {
    std::vector<UploadRow> rows;
    for (UploadInfo& u : store.list_uploads(""))
        rows.push_back({u, 0, 0, kind_of(u.key, layer_prefix)});
    std::vector<char> there(rows.size(), 1);
    parallel_for(rows.size(), jobs, [&](std::size_t i) {
        if (stop.stop_requested())
            throw Interrupted();
        try {
            for (const PartInfo& p :
                 store.list_parts(rows[i].upload.key, rows[i].upload.upload_id)) {
                ++rows[i].parts;
                rows[i].bytes += p.size;
            }
        } catch (const Error& e) {
            if (e.kind() != ErrorKind::gone)
                throw;
            there[i] = 0;
        }
    });
    std::vector<UploadRow> out;
    for (std::size_t i = 0; i < rows.size(); ++i)
        if (there[i])
            out.push_back(std::move(rows[i]));
    std::sort(out.begin(), out.end(), [](const UploadRow& a, const UploadRow& b) {
        return std::tie(a.upload.initiated, a.upload.key) <
               std::tie(b.upload.initiated, b.upload.key);
    });
    return out;
}

} // namespace zl
