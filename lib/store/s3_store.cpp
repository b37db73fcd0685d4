/// The ObjectStore over S3's REST API. Outside facts: the API pages of the operations named below
/// at https://docs.aws.amazon.com/AmazonS3/latest/API/.
#include "store/open_store.hpp"
#include "store/s3_client.hpp"
#include "store/s3_download.hpp"

#include <algorithm>
#include <set>

namespace zl {

namespace {

constexpr std::uint64_t kMaxPutBytes = 5ull << 30;

bool is_missing_key(const S3Reply& reply) {
    return reply.http.transport == Transport::ok && reply.http.status == 404 &&
           reply.code() != "NoSuchBucket";
}

/// The pages of a listing, which must not go round in circles.
class Pages {
public:
    explicit Pages(const std::string& what) : what_(what) {}
    void next(const std::string& token) {
        if (!seen_.insert(token).second)
            throw Error(ErrorKind::data, what_ + ": the listing does not advance");
    }

private:
    const std::string& what_;
    std::set<std::string> seen_;
};

class S3Store final : public ObjectStore {
public:
    S3Store(const StoreUrl& url, const StoreOptions& options, Log& log)
        : url_(url), options_(options), config_(AwsConfig::load(options.environment)),
          settings_(resolve_s3_settings(url, options.environment, config_)),
          deadline_(deadline_of(options)), http_(http_options()),
          credentials_({options.environment, config_, url.profile, settings_.region, http_, log,
                        options.stop}),
          client_(settings_, options, deadline_, http_, credentials_, log) {}

    std::string identity() const override;
    std::string describe(const std::string& key) const override;
    StoreAccess access() override { return client_.access(); }
    std::optional<ObjectInfo> head(const std::string& key) override;
    std::optional<ObjectInfo> get(const std::string& key, Sink& sink,
                                  const GetOptions& options) override;
    std::string put(const std::string& key, const Body& body, const PutOptions& options) override;
    void remove(const std::string& key) override;
    void list(const std::string& prefix, const ListOptions& options,
              const std::function<bool(const ObjectInfo&)>& visit) override;
    std::string create_upload(const std::string& key, const PutOptions& options) override;
    std::string upload_part(const std::string& key, const std::string& upload_id, int number,
                            const Body& body,
                            const std::function<void(std::int64_t)>& on_bytes) override;
    std::string upload_part_copy(const std::string& key, const std::string& upload_id, int number,
                                 const std::string& source_key, const std::string& source_etag,
                                 ByteRange range) override;
    std::vector<PartInfo> list_parts(const std::string& key, const std::string& upload_id) override;
    void complete_upload(const std::string& key, const std::string& upload_id,
                         const std::vector<PartInfo>& parts) override;
    void abort_upload(const std::string& key, const std::string& upload_id) override;
    std::vector<UploadInfo> list_uploads(const std::string& prefix) override;
    Millis clock_offset() const override { return client_.clock_offset(); }
    bool conditional_allowed() const override { return url_.conditional; }

private:
    using Deadline = std::optional<std::chrono::steady_clock::time_point>;
    static Deadline deadline_of(const StoreOptions& options) {
        if (options.timeout.count() <= 0)
            return std::nullopt;
        return std::chrono::steady_clock::now() + options.timeout;
    }
    HttpClient::Options http_options() const;
    std::string full_key(const std::string& key) const {
        return url_.root.empty() ? key : url_.root + '/' + key;
    }
    S3Request request(std::string verb, std::string method, const std::string& key) const;
    void add_write_headers(S3Request& request, const PutOptions& options) const;
    void check_part(int number, const std::string& what) const;
    /// The object's head by GET, where HEAD's reply, which has no body, leaves the reason open.
    std::optional<ObjectInfo> explain_head(const std::string& key);
    bool take_root(std::string& key, const std::string& prefix) const;

    const StoreUrl url_;
    const StoreOptions options_;
    const AwsConfig config_;
    const S3Settings settings_;
    const Deadline deadline_;
    HttpClient http_;
    CredentialCache credentials_;
    S3Client client_;
    std::atomic<bool> bucket_seen_{false};
};

HttpClient::Options S3Store::http_options() const {
    HttpClient::Options out;
    out.connect_timeout = options_.connect_timeout;
    out.bwlimit = options_.bwlimit;
    out.connections = options_.connections;
    out.deadline = deadline_;
    out.stop = options_.stop;
    for (const char* name : {"AWS_CA_BUNDLE", "SSL_CERT_FILE"})
        if (out.ca_file.empty())
            out.ca_file = options_.environment(name).value_or("");
    return out;
}

std::string S3Store::identity() const {
    std::string place = "https://s3.amazonaws.com";
    if (settings_.endpoint)
        place = settings_.endpoint->url() + settings_.endpoint->path;
    return "s3://" + url_.bucket + (url_.root.empty() ? "" : '/' + url_.root) + " at " + place;
}

std::string S3Store::describe(const std::string& key) const {
    return "s3://" + url_.bucket + '/' + full_key(key);
}

S3Request S3Store::request(std::string verb, std::string method, const std::string& key) const {
    S3Request out;
    out.what = std::move(verb) + ' ' + describe(key);
    out.method = std::move(method);
    out.key = full_key(key);
    return out;
}

void S3Store::add_write_headers(S3Request& r, const PutOptions& options) const {
    r.headers.emplace_back("content-type", options.content_type);
    for (const auto& [name, value] : options.meta)
        r.headers.emplace_back(std::string(kS3MetaPrefix) + name, value);
    if (!url_.sse.empty())
        r.headers.emplace_back("x-amz-server-side-encryption", url_.sse);
    if (!url_.sse_kms_key_id.empty())
        r.headers.emplace_back("x-amz-server-side-encryption-aws-kms-key-id", url_.sse_kms_key_id);
    if (!url_.storage_class.empty())
        r.headers.emplace_back("x-amz-storage-class", url_.storage_class);
}

std::optional<ObjectInfo> S3Store::head(const std::string& key) {
    S3Request r = request("head", "HEAD", key);
    S3Reply reply = client_.send(r);
    if (!reply.ok()) {
        // 404: the key or the bucket? 400, 403, 301: which error?
        bool http = reply.http.transport == Transport::ok && reply.http.status < 500;
        if (http && !(is_missing_key(reply) && bucket_seen_))
            return explain_head(key);
        if (is_missing_key(reply))
            return std::nullopt;
        throw client_.failure(reply, r);
    }
    bucket_seen_ = true;
    ObjectInfo info = s3_object_info(key, reply.http);
    auto size = s3_object_size(reply.http);
    if (!size)
        throw Error(ErrorKind::data, r.what + ": reply without a valid length");
    info.size = *size;
    return info;
}

std::optional<ObjectInfo> S3Store::explain_head(const std::string& key) {
    S3Request r = request("head", "GET", key);
    r.headers.emplace_back("range", "bytes=0-0");
    S3Reply reply = client_.send(r);
    if (is_missing_key(reply)) {
        bucket_seen_ = true;
        return std::nullopt;
    }
    // An object of 0 bytes has no byte 0.
    bool empty = reply.http.transport == Transport::ok && reply.http.status == 416;
    if (!reply.ok() && !empty)
        throw client_.failure(reply, r);
    bucket_seen_ = true;
    ObjectInfo info = s3_object_info(key, reply.http);
    info.size = empty ? 0 : s3_object_size(reply.http).value_or(0);
    return info;
}

std::optional<ObjectInfo> S3Store::get(const std::string& key, Sink& sink,
                                       const GetOptions& options) {
    S3Request r = request("get", "GET", key);
    if (options.range && options.range->length == 0) {
        auto info = head(key);
        if (info && !options.if_match.empty() && info->etag != options.if_match)
            throw Error(ErrorKind::conflict, r.what + ": the object changed");
        if (info && options.range->offset > info->size)
            throw Error(ErrorKind::data, r.what + ": object has " + std::to_string(info->size) +
                                             " bytes, wanted byte " +
                                             std::to_string(options.range->offset));
        return info;
    }
    S3Download download(r.what, key, sink, options);
    r.choose_sink = [&](const HttpResponse& head) { return download.accept(head); };
    const std::string nothing = hash_body(nullptr, options_.stop);
    constexpr std::uint64_t kProgress = 64 << 10; // less is a server that drips
    S3Retry retry(client_, r);
    for (;;) {
        std::uint64_t before = download.received();
        r.headers = download.headers();
        S3Reply reply = client_.attempt(r, nothing);
        if (download.complete())
            break;
        if (reply.ok()) // ended well, but too early: no Content-Length to notice it by
            reply.http.transport = Transport::broken,
            reply.http.transport_error = "the reply ended before its last byte";
        if (download.received() - before >= kProgress)
            retry.progress();
        if (retry.again(reply))
            continue;
        if (is_missing_key(reply) && !download.received())
            return std::nullopt;
        if (is_missing_key(reply) || reply.http.status == 412)
            throw Error(ErrorKind::conflict,
                        r.what + (download.received() ? ": the object changed while it was read"
                                                      : ": the object changed"));
        if (reply.http.status == 416)
            throw Error(ErrorKind::data, r.what + ": wanted bytes beyond the end of the object");
        throw client_.failure(reply, r);
    }
    bucket_seen_ = true;
    return download.info();
}

std::string S3Store::put(const std::string& key, const Body& body, const PutOptions& options) {
    S3Request r = request("put", "PUT", key);
    if (body.size() > kMaxPutBytes)
        throw Error(ErrorKind::internal, r.what + ": " + std::to_string(body.size()) +
                                             " bytes in one request, at most 5 GiB");
    add_write_headers(r, options);
    if (options.if_none_match)
        r.headers.emplace_back("if-none-match", "*");
    r.body = &body;
    r.on_sent = options.on_bytes;
    return s3_object_info(key, client_.expect_ok(r).http).etag;
}

void S3Store::remove(const std::string& key) {
    S3Request r = request("delete", "DELETE", key);
    S3Reply reply = client_.send(r);
    if (!reply.ok() && !is_missing_key(reply))
        throw client_.failure(reply, r);
}

/// Takes the root off a key of the bucket. False: not below what was asked for.
bool S3Store::take_root(std::string& key, const std::string& prefix) const {
    if (!key.starts_with(full_key(prefix)))
        return false;
    key.erase(0, full_key({}).size());
    return true;
}

void S3Store::list(const std::string& prefix, const ListOptions& options,
                   const std::function<bool(const ObjectInfo&)>& visit) {
    S3Request r = request("list", "GET", prefix);
    r.key.clear();
    QueryParams query = {
        {"list-type", "2"}, {"encoding-type", "url"}, {"prefix", full_key(prefix)}};
    if (options.delimiter)
        query.emplace_back("delimiter", "/");
    if (!options.start_after.empty())
        query.emplace_back("start-after", full_key(options.start_after));
    if (options_.page_size > 0)
        query.emplace_back("max-keys", std::to_string(options_.page_size));
    std::string last; // key
    Pages pages(r.what);
    for (std::string token;;) {
        r.query = query;
        if (!token.empty())
            r.query.emplace_back("continuation-token", token);
        ListPage page = parse_list_objects(client_.expect_ok(r).http.body);
        bucket_seen_ = true;
        for (ObjectInfo& info : page.objects) {
            if (!take_root(info.key, prefix))
                continue;
            if (info.key < last)
                throw Error(ErrorKind::data,
                            r.what + ": \"" + info.key + "\" is listed after \"" + last + '"');
            if (info.key == last) // a common prefix may be on two pages
                continue;
            last = info.key;
            if (!visit(info))
                return;
        }
        if (page.next_token.empty())
            return;
        token = page.next_token;
        pages.next(token);
    }
}

std::string S3Store::create_upload(const std::string& key, const PutOptions& options) {
    S3Request r = request("create upload of", "POST", key);
    r.query = {{"uploads", ""}};
    add_write_headers(r, options);
    MemoryBody nothing("");
    r.body = &nothing;
    return parse_create_upload(client_.expect_ok(r).http.body);
}

void S3Store::check_part(int number, const std::string& what) const {
    if (number < 1 || number > 10000)
        throw Error(ErrorKind::internal, what + ": expected 1 to 10000");
}

std::string S3Store::upload_part(const std::string& key, const std::string& upload_id, int number,
                                 const Body& body,
                                 const std::function<void(std::int64_t)>& on_bytes) {
    S3Request r = request("part " + std::to_string(number) + " of", "PUT", key);
    check_part(number, r.what);
    r.query = {{"partNumber", std::to_string(number)}, {"uploadId", upload_id}};
    r.of_upload = true;
    r.body = &body;
    r.on_sent = on_bytes;
    S3Reply reply = client_.expect_ok(r);
    std::string etag = s3_object_info(key, reply.http).etag;
    if (etag.empty())
        throw Error(ErrorKind::data, r.what + ": reply without ETag");
    return etag;
}

std::string S3Store::upload_part_copy(const std::string& key, const std::string& upload_id,
                                      int number, const std::string& source_key,
                                      const std::string& source_etag, ByteRange range) {
    S3Request r = request("copy part " + std::to_string(number) + " of", "PUT", key);
    check_part(number, r.what);
    if (range.length == 0)
        throw Error(ErrorKind::internal, r.what + ": empty range");
    r.query = {{"partNumber", std::to_string(number)}, {"uploadId", upload_id}};
    r.headers = {
        {"x-amz-copy-source", uri_encode('/' + url_.bucket + '/' + full_key(source_key), true)},
        {"x-amz-copy-source-range", "bytes=" + std::to_string(range.offset) + '-' +
                                        std::to_string(range.offset + range.length - 1)}};
    if (!source_etag.empty())
        r.headers.emplace_back("x-amz-copy-source-if-match", quoted_etag(source_etag));
    MemoryBody nothing("");
    r.body = &nothing;
    r.error_in_200 = true;
    return parse_copy_part(client_.expect_ok(r).http.body);
}

std::vector<PartInfo> S3Store::list_parts(const std::string& key, const std::string& upload_id) {
    S3Request r = request("list parts of", "GET", key);
    r.of_upload = true;
    std::vector<PartInfo> out;
    for (int marker = 0;;) {
        r.query = {{"uploadId", upload_id}};
        if (marker)
            r.query.emplace_back("part-number-marker", std::to_string(marker));
        if (options_.page_size > 0)
            r.query.emplace_back("max-parts", std::to_string(options_.page_size));
        PartsPage page = parse_list_parts(client_.expect_ok(r).http.body);
        out.insert(out.end(), page.parts.begin(), page.parts.end());
        if (!page.next_marker)
            return out;
        if (page.next_marker <= marker)
            throw Error(ErrorKind::data, r.what + ": the listing does not advance");
        marker = page.next_marker;
    }
}

void S3Store::complete_upload(const std::string& key, const std::string& upload_id,
                              const std::vector<PartInfo>& parts) {
    S3Request r = request("complete upload of", "POST", key);
    r.query = {{"uploadId", upload_id}};
    r.of_upload = true;
    r.headers = {{"content-type", "application/xml"}};
    MemoryBody list(format_complete_upload(parts));
    r.body = &list;
    r.repeatable = false;
    r.error_in_200 = true;
    // The store joins the parts before it replies, and sends blanks meanwhile, or nothing at all.
    r.stall_time = std::chrono::minutes(10);
    S3Reply reply = client_.expect_ok(r);
    try {
        parse_complete_upload(reply.http.body);
    } catch (const Error& e) {
        // A reply that was cut says nothing about the object: the caller has to look.
        throw Error(ErrorKind::transient, r.what + ": " + e.message());
    }
}

void S3Store::abort_upload(const std::string& key, const std::string& upload_id) {
    S3Request r = request("abort upload of", "DELETE", key);
    r.query = {{"uploadId", upload_id}};
    // A part that was under way can be stored after the abort: look until none is left.
    constexpr int kRounds = 5;
    for (int round = 0; round < kRounds; ++round) {
        S3Reply reply = client_.send(r);
        if (!reply.ok() && !is_missing_key(reply))
            throw client_.failure(reply, r);
        try {
            if (list_parts(key, upload_id).empty())
                return;
        } catch (const Error& e) {
            if (e.kind() == ErrorKind::gone)
                return;
            throw;
        }
    }
    throw Error(ErrorKind::transient,
                r.what + ": parts are still listed after " + std::to_string(kRounds) + " aborts");
}

std::vector<UploadInfo> S3Store::list_uploads(const std::string& prefix) {
    S3Request r = request("list uploads of", "GET", prefix);
    r.key.clear();
    std::vector<UploadInfo> out;
    std::string key_marker, id_marker;
    Pages pages(r.what);
    for (;;) {
        // No encoding-type: Ceph 16 then encodes the keys without saying so.
        r.query = {{"uploads", ""}, {"prefix", full_key(prefix)}};
        if (!key_marker.empty())
            r.query.emplace_back("key-marker", key_marker);
        if (!id_marker.empty())
            r.query.emplace_back("upload-id-marker", id_marker);
        if (options_.page_size > 0)
            r.query.emplace_back("max-uploads", std::to_string(options_.page_size));
        UploadsPage page = parse_list_uploads(client_.expect_ok(r).http.body);
        for (UploadInfo& upload : page.uploads)
            if (take_root(upload.key, prefix))
                out.push_back(std::move(upload));
        if (!page.truncated)
            return out;
        key_marker = page.next_key_marker;
        id_marker = page.next_upload_id_marker;
        pages.next(key_marker + '\n' + id_marker);
    }
}

} // namespace

std::unique_ptr<ObjectStore> open_s3_store(const StoreUrl& url, const StoreOptions& options,
                                           Log& log) {
    return std::make_unique<S3Store>(url, options, log);
}

} // namespace zl
