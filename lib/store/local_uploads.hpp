/// Multipart uploads under way in a directory store: each is a directory below `.zl-uploads` with
/// `upload.json`, which says for which key it is, and a file for each part. Without upload.json it
/// does not exist, whatever a crash left of its parts.
#pragma once

#include "store/local_files.hpp"

namespace zl::local {

class Uploads {
public:
    /// @p root: of the store.
    Uploads(const std::string& root, std::stop_token stop);

    /// Returns its id.
    std::string create(const std::string& key, const ObjectMeta& meta);
    /// Of create(). gone if there is no such upload of this key, here and below.
    ObjectMeta meta(const std::string& key, const std::string& id) const;
    /// Returns the part's ETag.
    std::string put_part(const std::string& key, const std::string& id, int number,
                         const Body& body, const std::function<void(std::int64_t)>& on_bytes);
    std::vector<PartInfo> parts(const std::string& key, const std::string& id) const;
    /// Writes @p chosen, in their order. Throws data if one is not what was stored.
    void write_parts(const std::string& key, const std::string& id,
                     const std::vector<PartInfo>& chosen, Sink& sink) const;
    /// Missing is fine.
    void remove(const std::string& id);
    std::vector<UploadInfo> list(const std::string& prefix) const;

private:
    std::string dir_of(const std::string& id) const { return dir_ + "/" + id; }
    std::string description(const std::string& id) const { return dir_of(id) + "/upload.json"; }
    std::string part_path(const std::string& id, int number) const;
    Json find(const std::string& key, const std::string& id) const;

    std::string dir_;
    std::stop_token stop_;
};

} // namespace zl::local
