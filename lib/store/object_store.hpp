/// What zl needs of a place that keeps objects: one interface for S3 and for a directory, one
/// conformance suite for both (tests/unit/store).
///
/// ASSUMPTIONS about every store
///   A1  An object is created whole or not at all; readers never see half of it.
///   A2  Read after write and list after write are consistent (S3 since 2020, Ceph, Swift).
///   A3  Parts of an upload that was not completed are invisible as an object.
///   A4  put() without condition replaces the object.
/// NOT assumed
///   conditions on complete_upload (Ceph ignores them); that an ETag is an MD5; that the reply of
///   complete_upload carries an ETag; that an upload id dies at once after complete or abort.
///
/// Errors of every method: transient once the retry budget (StoreOptions::retry_for) is spent,
/// denied for 401/403, not_found (`bucket ... does not exist`) for a missing bucket, conflict for a
/// condition that was not met, gone for an upload id the store does not know, unsupported for an
/// operation the store lacks, data for a reply that makes no sense; Interrupted when the stop token
/// fired. Every method is thread-safe and blocking.
#pragma once

#include "base/error.hpp"
#include "base/units.hpp"
#include "stream/stream.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace zl {

/// User metadata: lower-case ASCII names without the `x-amz-meta-` prefix, ASCII values.
using ObjectMeta = std::map<std::string, std::string>;

struct ObjectInfo {
    std::string key;
    std::uint64_t size = 0;
    std::string etag; ///< opaque, without the quotes
    TimePoint last_modified{};
    ObjectMeta meta; ///< filled by head() and get(), not by list()
};

/// Bytes [offset, offset + length).
struct ByteRange {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
};

/// A body that can be read again from its start (a retry sends it anew) and by several threads at
/// different offsets.
class Body {
public:
    virtual ~Body() = default;
    virtual std::uint64_t size() const = 0;
    /// Fill @p buffer from @p offset; throws io when there are not that many bytes.
    virtual void read(std::uint64_t offset, std::span<std::byte> buffer) const = 0;
    /// Hex SHA-256 of all of it where that was taken when the bytes came in; empty: not known.
    virtual std::string sha256() const { return {}; }
};

class MemoryBody final : public Body {
public:
    explicit MemoryBody(std::string data) : data_(std::move(data)) {}
    std::uint64_t size() const override { return data_.size(); }
    void read(std::uint64_t offset, std::span<std::byte> buffer) const override;

private:
    std::string data_;
};

/// Part of a file that somebody else keeps open; read with pread, so memory does not grow with it.
class FileBody final : public Body {
public:
    FileBody(int fd, std::uint64_t offset, std::uint64_t size, std::string name)
        : fd_(fd), offset_(offset), size_(size), name_(std::move(name)) {}
    std::uint64_t size() const override { return size_; }
    void read(std::uint64_t offset, std::span<std::byte> buffer) const override;

private:
    int fd_;
    std::uint64_t offset_;
    std::uint64_t size_;
    std::string name_;
};

/// Signing a request with it need not read it first, and what the store compares it with are the
/// bytes that came in, not what a disk made of them since.
class HashedBody final : public Body {
public:
    /// @p bytes outlives this.
    HashedBody(const Body& bytes, std::string sha256_hex)
        : bytes_(bytes), sha256_(std::move(sha256_hex)) {}
    std::uint64_t size() const override { return bytes_.size(); }
    void read(std::uint64_t offset, std::span<std::byte> buffer) const override {
        bytes_.read(offset, buffer);
    }
    std::string sha256() const override { return sha256_; }

private:
    const Body& bytes_;
    std::string sha256_;
};

struct PutOptions {
    ObjectMeta meta;
    std::string content_type = "application/octet-stream";
    bool if_none_match = false; ///< create only: conflict if the key exists
    /// Called with the bytes sent so far going up (and down again at a retry).
    std::function<void(std::int64_t)> on_bytes;
};

struct GetOptions {
    std::optional<ByteRange> range; ///< beyond the end of the object: data
    std::string if_match;           ///< ETag; conflict when the object changed
    std::function<void(std::int64_t)> on_bytes;
};

struct ListOptions {
    std::string start_after; ///< keys greater than this one, bytewise
    /// `/`: names below PREFIX that contain another `/` are reported once, as a common prefix.
    bool delimiter = false;
};

struct UploadInfo {
    std::string key;
    std::string upload_id;
    TimePoint initiated{};
};

struct PartInfo {
    int number = 0; ///< 1..10000
    std::uint64_t size = 0;
    std::string etag; ///< without quotes
    TimePoint last_modified{};
};

/// Where requests go and as whom, for a person who asks before anything is done.
struct StoreAccess {
    std::string endpoint;    ///< `https://s3.eu-central-1.amazonaws.com`; empty = a directory
    std::string region;      ///< empty = a directory
    std::string credentials; ///< their source, never a secret; empty = none are needed
};

class ObjectStore {
public:
    virtual ~ObjectStore() = default;

    /// Identity of the place, stable and free of secrets: `s3://bucket/root at https://host` or
    /// `file:///dir`. State rows are keyed by it.
    virtual std::string identity() const = 0;
    /// For messages: `s3://bucket/root/key`.
    virtual std::string describe(const std::string& key) const = 0;

    /// Loads credentials; throws what that throws.
    virtual StoreAccess access() { return {}; }
    /// Whether @p key could be created: begins an upload and aborts it, so that nothing is left and
    /// no reader sees anything. Throws denied and what create_upload() throws.
    virtual void check_writable(const std::string& key);

    virtual std::optional<ObjectInfo> head(const std::string& key) = 0;
    /// Stream the object (or range) into @p sink; a broken transfer is continued at the byte
    /// reached (with If-Match), so the sink sees every byte once and in order. nullopt: no such
    /// key. Does not call sink.finish(). Fewer bytes than announced is never success.
    virtual std::optional<ObjectInfo> get(const std::string& key, Sink& sink,
                                          const GetOptions& options = {}) = 0;
    /// One request, at most 5 GiB. Returns the ETag (may be empty).
    virtual std::string put(const std::string& key, const Body& body,
                            const PutOptions& options = {}) = 0;
    /// Missing key is success.
    virtual void remove(const std::string& key) = 0;
    /// Objects whose key starts with @p prefix, in bytewise key order, over all pages. What cannot
    /// be looked at is not left out and no time is made up, here and below: both throw, for by a
    /// listing things are deleted. @p visit returns false to stop. With delimiter, common prefixes
    /// come as ObjectInfo with key ending in `/`, size 0 and an empty ETag.
    virtual void list(const std::string& prefix, const ListOptions& options,
                      const std::function<bool(const ObjectInfo&)>& visit) = 0;

    virtual std::string create_upload(const std::string& key, const PutOptions& options) = 0;
    /// @p number 1..10000; body 5 MiB..5 GiB except the last. Returns the ETag.
    virtual std::string upload_part(const std::string& key, const std::string& upload_id,
                                    int number, const Body& body,
                                    const std::function<void(std::int64_t)>& on_bytes = {}) = 0;
    /// Part @p number as a copy of @p range of @p source_key (which must still have @p source_etag:
    /// conflict otherwise; Ceph ignores the condition, so verify). unsupported where the store
    /// cannot.
    virtual std::string upload_part_copy(const std::string& key, const std::string& upload_id,
                                         int number, const std::string& source_key,
                                         const std::string& source_etag, ByteRange range) = 0;
    /// All parts, over all pages. gone if the upload does not exist.
    virtual std::vector<PartInfo> list_parts(const std::string& key,
                                             const std::string& upload_id) = 0;
    /// 200 with an <Error> body is an error. Not retried on ambiguity (lost reply, 5xx after the
    /// request was sent): throws transient then, and the caller looks at the object.
    virtual void complete_upload(const std::string& key, const std::string& upload_id,
                                 const std::vector<PartInfo>& parts) = 0;
    /// Repeats until no part is listed any more. Missing upload is success.
    virtual void abort_upload(const std::string& key, const std::string& upload_id) = 0;
    /// Uploads under way whose key starts with @p prefix, over all pages.
    virtual std::vector<UploadInfo> list_uploads(const std::string& prefix) = 0;

    /// Largest offset the store's clock was seen to have against ours (from `Date`); zero before
    /// any request and for directories.
    virtual Millis clock_offset() const = 0;
    /// Objects up to this size are best written with one put(); a directory has no use for parts.
    virtual std::uint64_t preferred_put_limit() const { return 0; }
    /// Whether conditional create works may be probed at all (`conditional=off` says no).
    virtual bool conditional_allowed() const { return true; }
};

/// The whole object as text, for small JSON documents; nullopt if absent; data beyond @p max_bytes.
std::optional<std::string> get_text(ObjectStore& store, const std::string& key,
                                    std::size_t max_bytes = 1 << 20);
/// Write a small text object.
void put_text(ObjectStore& store, const std::string& key, std::string text,
              std::string content_type = "application/json");

} // namespace zl
