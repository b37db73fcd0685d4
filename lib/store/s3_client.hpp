/// Signed S3 requests against one bucket: target host, signing, retries, redirects, errors. What
/// the operations mean is s3_store.cpp's business.
#pragma once

#include "base/report.hpp"
#include "store/credentials.hpp"
#include "store/http_client.hpp"
#include "store/open_store.hpp"
#include "store/retry.hpp"
#include "store/s3_xml.hpp"
#include "store/store_url.hpp"

#include <atomic>
#include <mutex>
#include <random>
#include <string>

namespace zl {

/// What of the store url, the environment and the profile decides where requests go.
struct S3Settings {
    std::string bucket;
    std::optional<Endpoint> endpoint; ///< nullopt = AWS
    std::string region;
    bool virtual_host = false;
};
/// Region: url, AWS_REGION, AWS_DEFAULT_REGION, profile, us-east-1. Endpoint: url,
/// AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, profile, AWS. Throws config.
S3Settings resolve_s3_settings(const StoreUrl& url, const Environment& environment,
                               const AwsConfig& config);

struct S3Request {
    std::string what; ///< for messages: `put s3://bucket/key`
    std::string method;
    std::string key; ///< whole key, root included; empty = the bucket
    QueryParams query;
    HeaderList headers; ///< lower-case names
    const Body* body = nullptr;
    std::function<Sink*(const HttpResponse&)> choose_sink; ///< called for 2xx only
    std::function<void(std::int64_t)> on_sent;             ///< see PutOptions::on_bytes
    bool repeatable = true;    ///< false: not retried when it may have been carried out
    bool error_in_200 = false; ///< the body of a 200 may be an <Error>
    bool of_upload = false;    ///< 404 means that the upload is gone
    Millis stall_time{std::chrono::seconds(30)};
};

struct S3Reply {
    HttpResponse http;
    std::optional<S3Error> error;
    Credentials credentials; ///< it was signed with

    Outcome outcome() const;
    bool ok() const { return classify(outcome()) == Verdict::ok; }
    const std::string& code() const;
};

class S3Client {
public:
    /// References outlive the client. No retry waits past @p deadline.
    S3Client(S3Settings settings, const StoreOptions& options,
             std::optional<std::chrono::steady_clock::time_point> deadline, HttpClient& http,
             CredentialCache& credentials, Log& log);

    /// Retries within the budget. Returns the reply of the last attempt, good or bad.
    S3Reply send(const S3Request& request);
    /// send() and throw failure() unless it is good.
    S3Reply expect_ok(const S3Request& request);
    /// One attempt; @p payload_hash of request.body.
    S3Reply attempt(const S3Request& request, const std::string& payload_hash);
    /// The Error that a bad reply becomes.
    Error failure(const S3Reply& reply, const S3Request& request) const;

    /// Where the next request goes and as whom.
    StoreAccess access();

    /// Largest `Date` minus our clock seen; 0 before any reply, and within the 2 s that `Date` and
    /// the way of the reply leave open.
    Millis clock_offset() const;

private:
    friend class S3Retry;
    struct Target {
        Endpoint endpoint; ///< bucket included in the authority where virtual
        std::string region;
        bool virtual_host = false;
    };
    Target target() const;
    void note_date(const HttpResponse& response);
    bool learn_clock(const S3Reply& reply);
    bool learn_region(const S3Reply& reply);
    bool may_redirect_to(const std::string& host) const;
    void pause(Millis delay) const;
    double random();

    const S3Settings settings_;
    const Millis retry_for_;
    const std::optional<std::chrono::steady_clock::time_point> deadline_;
    const std::stop_token stop_;
    HttpClient& http_;
    CredentialCache& credentials_;
    Log& log_;
    SigningKeyCache signing_keys_;

    mutable std::mutex mutex_;
    std::string region_;                    ///< learned from a redirect
    std::optional<std::string> redirected_; ///< authority learned from a redirect
    std::mt19937_64 random_;
    std::atomic<std::int64_t> signing_offset_ms_{0}; ///< after a 403 about the time only
    std::atomic<std::int64_t> seen_offset_ms_;
};

/// The retries of one operation. Use: `while (!reply.ok() && retry.again(reply)) reply =
/// attempt();`
class S3Retry {
public:
    S3Retry(S3Client& client, const S3Request& request);
    /// Waits and returns true if another attempt makes sense. Throws Interrupted.
    bool again(const S3Reply& reply);
    /// Bytes arrived: the budget counts from here.
    void progress();
    int attempts() const { return attempts_; }

private:
    S3Client& client_;
    const S3Request& request_;
    std::chrono::steady_clock::time_point began_;
    int attempt_ = 0;
    int attempts_ = 1;
    bool refreshed_ = false, clock_learned_ = false, region_learned_ = false;
};

/// Hex SHA-256 of a body, read in steps of 1 MiB unless it knows it; of nothing for nullptr.
std::string hash_body(const Body* body, const std::stop_token& stop);

} // namespace zl
