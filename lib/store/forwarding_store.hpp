/// A store that passes everything on: what is built on it overrides what it guards, watches, counts
/// or lets fail.
#pragma once

#include "store/object_store.hpp"

namespace zl {

class ForwardingStore : public ObjectStore {
public:
    /// @p inner outlives this.
    explicit ForwardingStore(ObjectStore& inner) : inner_(inner) {}

    std::string identity() const override { return inner_.identity(); }
    std::string describe(const std::string& key) const override { return inner_.describe(key); }
    StoreAccess access() override { return inner_.access(); }
    void check_writable(const std::string& key) override { inner_.check_writable(key); }
    std::optional<ObjectInfo> head(const std::string& key) override { return inner_.head(key); }
    std::optional<ObjectInfo> get(const std::string& key, Sink& sink,
                                  const GetOptions& options) override {
        return inner_.get(key, sink, options);
    }
    std::string put(const std::string& key, const Body& body, const PutOptions& options) override {
        return inner_.put(key, body, options);
    }
    void remove(const std::string& key) override { inner_.remove(key); }
    void list(const std::string& prefix, const ListOptions& options,
              const std::function<bool(const ObjectInfo&)>& visit) override {
        inner_.list(prefix, options, visit);
    }
    std::string create_upload(const std::string& key, const PutOptions& options) override {
        return inner_.create_upload(key, options);
    }
    std::string upload_part(const std::string& key, const std::string& id, int number,
                            const Body& body,
                            const std::function<void(std::int64_t)>& on_bytes) override {
        return inner_.upload_part(key, id, number, body, on_bytes);
    }
    std::string upload_part_copy(const std::string& key, const std::string& id, int number,
                                 const std::string& source, const std::string& etag,
                                 ByteRange range) override {
        return inner_.upload_part_copy(key, id, number, source, etag, range);
    }
    std::vector<PartInfo> list_parts(const std::string& key, const std::string& id) override {
        return inner_.list_parts(key, id);
    }
    void complete_upload(const std::string& key, const std::string& id,
                         const std::vector<PartInfo>& parts) override {
        inner_.complete_upload(key, id, parts);
    }
    void abort_upload(const std::string& key, const std::string& id) override {
        inner_.abort_upload(key, id);
    }
    std::vector<UploadInfo> list_uploads(const std::string& prefix) override {
        return inner_.list_uploads(prefix);
    }
    Millis clock_offset() const override { return inner_.clock_offset(); }
    std::uint64_t preferred_put_limit() const override { return inner_.preferred_put_limit(); }
    bool conditional_allowed() const override { return inner_.conditional_allowed(); }

protected:
    ObjectStore& inner_;
};

} // namespace zl
