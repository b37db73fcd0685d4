/// What S3's reply headers say about an object, and one download that goes on where it broke off.
#pragma once

#include "store/http_client.hpp"
#include "store/object_store.hpp"

#include <optional>
#include <string>

namespace zl {

constexpr std::string_view kS3MetaPrefix = "x-amz-meta-";

/// All but the size, which depends on the status.
ObjectInfo s3_object_info(const std::string& key, const HttpResponse& response);
/// Size of the whole object from a 200, a 206 or a 416; nullopt if the headers make no sense.
std::optional<std::uint64_t> s3_object_size(const HttpResponse& response);
/// As If-Match wants it.
std::string quoted_etag(const std::string& etag);

/// What is wanted, what has arrived, and whether replies fit to that. The arguments outlive it.
class S3Download {
public:
    S3Download(std::string what, const std::string& key, Sink& sink, const GetOptions& options);

    /// Range and If-Match of the next attempt.
    HeaderList headers() const;
    /// Called with each good head before its body; returns where the body goes. Throws data if the
    /// reply is not what headers() asked for.
    Sink* accept(const HttpResponse& head);

    bool complete() const { return info_ && position() == *end_; }
    std::uint64_t received() const { return received_; }
    /// Valid once accept() has returned.
    const ObjectInfo& info() const { return *info_; }

private:
    std::uint64_t position() const {
        return (options_.range ? options_.range->offset : 0) + received_;
    }
    Error bad(const std::string& why) const;
    void take(Bytes data);

    /// Passes on to take(); what is prompt stays prompt.
    class Counter final : public Sink {
    public:
        explicit Counter(S3Download& download) : download_(download) {}
        void write(Bytes data) override { download_.take(data); }
        bool prompt() const override {
            return download_.sink_.prompt() && !download_.options_.on_bytes;
        }

    private:
        S3Download& download_;
    };

    std::string what_;
    const std::string& key_;
    Sink& sink_;
    const GetOptions& options_;
    Counter counter_{*this};
    std::string etag_;
    std::optional<std::uint64_t> end_; ///< first byte not wanted, once known
    std::uint64_t received_ = 0;
    std::optional<ObjectInfo> info_;
};

} // namespace zl
