/// Helpers of the transfer tests: temp directories, small layers, a store that fails on demand.
#pragma once

#include "../temp_dir.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "layer/layer_stream.hpp"
#include "store/open_store.hpp"

#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <type_traits>

namespace zl::test {

inline std::string noise(std::size_t n, std::uint32_t seed) {
    std::mt19937 rng(seed);
    std::string out(n, '\0');
    for (char& c : out)
        c = static_cast<char>(rng() >> 24);
    return out;
}

/// A layer of one entry that does not compress.
inline std::string layer_of(std::size_t size, std::uint32_t seed, int level = 1) {
    MemorySink out;
    LayerStreamWriter writer(out, level, 1);
    std::string data = noise(size / 512 * 512, seed);
    TocEntry e;
    e.path = "f";
    writer.begin_entry(e, data.size());
    writer.write(as_bytes(data));
    writer.end_entry(sha256(as_bytes(data)));
    writer.finish({});
    return out.text;
}

/// Passes everything on to a directory store, and is told per call what goes wrong. Parts are
/// preferred as with S3. A fake: labelled so; real servers are in tests/s3.
class FaultyStore final : public ObjectStore {
public:
    explicit FaultyStore(const std::string& dir) {
        StoreUrl url;
        url.path = dir;
        inner_ = open_local_store(url, {}, log_);
    }
    /// Called as "put KEY", "part N", "complete", ... before and after each request.
    std::function<void(const std::string& call, bool after)> fault = [](auto&, bool) {};
    std::map<std::string, int> calls;

    std::string identity() const override { return inner_->identity(); }
    std::string describe(const std::string& k) const override { return inner_->describe(k); }
    std::optional<ObjectInfo> head(const std::string& k) override {
        return around("head", [&] { return inner_->head(k); });
    }
    std::optional<ObjectInfo> get(const std::string& k, Sink& s, const GetOptions& o) override {
        return around("get", [&] { return inner_->get(k, s, o); });
    }
    std::string put(const std::string& k, const Body& b, const PutOptions& o) override {
        return around("put " + k.substr(k.rfind('.') + 1), [&] { return inner_->put(k, b, o); });
    }
    void remove(const std::string& k) override { inner_->remove(k); }
    void list(const std::string& p, const ListOptions& o,
              const std::function<bool(const ObjectInfo&)>& v) override {
        inner_->list(p, o, v);
    }
    std::string create_upload(const std::string& k, const PutOptions& o) override {
        return around("create", [&] { return inner_->create_upload(k, o); });
    }
    std::string upload_part(const std::string& k, const std::string& u, int n, const Body& b,
                            const std::function<void(std::int64_t)>& f) override {
        return around("part", [&] { return inner_->upload_part(k, u, n, b, f); });
    }
    std::string upload_part_copy(const std::string& k, const std::string& u, int n,
                                 const std::string& s, const std::string& e, ByteRange r) override {
        return inner_->upload_part_copy(k, u, n, s, e, r);
    }
    std::vector<PartInfo> list_parts(const std::string& k, const std::string& u) override {
        return around("list_parts", [&] { return inner_->list_parts(k, u); });
    }
    void complete_upload(const std::string& k, const std::string& u,
                         const std::vector<PartInfo>& p) override {
        around("complete", [&] {
            inner_->complete_upload(k, u, p);
            return 0;
        });
    }
    void abort_upload(const std::string& k, const std::string& u) override {
        ++calls["abort"];
        inner_->abort_upload(k, u);
    }
    std::vector<UploadInfo> list_uploads(const std::string& p) override {
        return around("list_uploads", [&] { return inner_->list_uploads(p); });
    }
    Millis clock_offset() const override { return offset; }
    Millis offset{0}; ///< of what our clock, or a proxy's `Date`, makes of the store's
    ObjectStore& inner() { return *inner_; }

private:
    template <typename F>
    std::invoke_result_t<F> around(const std::string& call, F f) {
        {
            std::lock_guard lock(mutex_);
            ++calls[call];
            fault(call, false);
        }
        auto r = f();
        std::lock_guard lock(mutex_);
        fault(call, true);
        return r;
    }
    NullLog log_;
    std::mutex mutex_;
    std::unique_ptr<ObjectStore> inner_;
};

} // namespace zl::test
