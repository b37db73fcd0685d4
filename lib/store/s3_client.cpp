#include "store/s3_client.hpp"

#include "base/file.hpp"
#include "store/s3_rights.hpp"

#include <algorithm>
#include <condition_variable>

namespace zl {

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::int64_t kNoOffsetSeen = std::numeric_limits<std::int64_t>::min();
const std::string kEmpty;

/// Bucket as first label of a host name that a wildcard certificate covers: no dots.
bool is_dns_label(std::string_view bucket) {
    if (bucket.size() < 3 || bucket.size() > 63 || bucket.front() == '-' || bucket.back() == '-')
        return false;
    return std::all_of(bucket.begin(), bucket.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
    });
}

bool is_aws_host(std::string_view host) {
    return host_within(host, "amazonaws.com") || host_within(host, "amazonaws.com.cn");
}

Endpoint aws_endpoint(const std::string& region) {
    std::string domain = region.starts_with("cn-") ? ".amazonaws.com.cn" : ".amazonaws.com";
    return {"https", "s3." + region + domain, ""};
}

bool is_region_name(std::string_view text) {
    return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    });
}

std::string first_of(std::initializer_list<std::string> texts) {
    for (const std::string& text : texts)
        if (!text.empty())
            return text;
    return {};
}

} // namespace

S3Settings resolve_s3_settings(const StoreUrl& url, const Environment& environment,
                               const AwsConfig& config) {
    auto variable = [&](const char* name) { return environment(name).value_or(""); };
    std::string profile = AwsConfig::profile_name(url.profile, environment);
    S3Settings out;
    out.bucket = url.bucket;
    out.region = first_of({url.region, variable("AWS_REGION"), variable("AWS_DEFAULT_REGION"),
                           config.text(profile, "region"), "us-east-1"});

    std::string services = config.text(profile, "services");
    const std::pair<std::string, std::string> endpoints[] = {
        {url.endpoint, "store url"},
        {variable("AWS_ENDPOINT_URL_S3"), "AWS_ENDPOINT_URL_S3"},
        {variable("AWS_ENDPOINT_URL"), "AWS_ENDPOINT_URL"},
        {services.empty() ? "" : config.service_text(services, "s3.endpoint_url"),
         "services \"" + services + '"'},
        {config.text(profile, "s3.endpoint_url"), "profile \"" + profile + '"'},
        {config.text(profile, "endpoint_url"), "profile \"" + profile + '"'},
    };
    // What is set in the url is the user's explicit word; AWS's switch turns off the rest.
    bool ignored = variable("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") == "true";
    for (const auto& [text, origin] : endpoints) {
        if (text.empty() || (ignored && origin != "store url"))
            continue;
        out.endpoint = Endpoint::parse(text, origin);
        break;
    }
    switch (url.addressing) {
    case StoreUrl::Addressing::automatic:
        out.virtual_host = !out.endpoint && is_dns_label(out.bucket);
        break;
    case StoreUrl::Addressing::path:
        out.virtual_host = false;
        break;
    case StoreUrl::Addressing::virtual_host:
        out.virtual_host = true;
        break;
    }
    return out;
}

std::string hash_body(const Body* body, const std::stop_token& stop) {
    if (std::string known = body ? body->sha256() : std::string(); !known.empty())
        return known;
    Hasher hasher;
    if (body) {
        std::string buffer(1 << 20, '\0');
        for (std::uint64_t at = 0; at < body->size();) {
            if (stop.stop_requested())
                throw Interrupted();
            std::size_t step =
                static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), body->size() - at));
            auto part = std::as_writable_bytes(std::span(buffer.data(), step));
            body->read(at, part);
            hasher.update(part);
            at += step;
        }
    }
    return hasher.finish_hex();
}

Outcome S3Reply::outcome() const {
    return {http.transport, http.status, error ? error->code : ""};
}

const std::string& S3Reply::code() const {
    return error ? error->code : kEmpty;
}

S3Client::S3Client(S3Settings settings, const StoreOptions& options,
                   std::optional<Clock::time_point> deadline, HttpClient& http,
                   CredentialCache& credentials, Log& log)
    : settings_(std::move(settings)), retry_for_(options.retry_for), deadline_(deadline),
      stop_(options.stop), http_(http), credentials_(credentials), log_(log),
      region_(settings_.region), random_(std::random_device{}()), seen_offset_ms_(kNoOffsetSeen) {}

S3Client::Target S3Client::target() const {
    std::lock_guard lock(mutex_);
    Target out;
    out.region = region_;
    out.endpoint = settings_.endpoint ? *settings_.endpoint : aws_endpoint(region_);
    out.virtual_host = settings_.virtual_host;
    if (redirected_) {
        out.endpoint.authority = *redirected_;
        out.virtual_host = redirected_->starts_with(settings_.bucket + '.');
    } else if (out.virtual_host) {
        out.endpoint.authority = settings_.bucket + '.' + out.endpoint.authority;
    }
    return out;
}

S3Reply S3Client::attempt(const S3Request& request, const std::string& payload_hash) {
    Target to = target();
    Credentials who;
    try {
        who = credentials_.get();
    } catch (const Error& e) {
        if (e.kind() != ErrorKind::transient)
            throw;
        S3Reply reply; // a metadata service that does not answer is waited for like the store
        reply.http.transport = Transport::connect;
        reply.http.transport_error = e.message();
        return reply;
    }
    TimePoint when = now_wall() + Millis(signing_offset_ms_.load());

    SigV4Request sign;
    sign.method = request.method;
    sign.path = to.endpoint.path + (to.virtual_host ? "" : '/' + settings_.bucket);
    if (!request.key.empty())
        sign.path += '/' + request.key;
    sign.query = request.query;
    sign.payload_hash = payload_hash;
    sign.headers = request.headers;
    sign.headers.emplace_back("host", to.endpoint.authority);
    sign.headers.emplace_back("x-amz-content-sha256", payload_hash);
    sign.headers.emplace_back("x-amz-date", amz_date(when));
    if (!who.session_token.empty())
        sign.headers.emplace_back("x-amz-security-token", who.session_token);
    std::string authorization =
        authorization_header(sign, PathMode::s3, who.access_key_id, who.secret_access_key, when,
                             {to.region, "s3"}, signing_keys_);

    HttpRequest http;
    http.method = request.method;
    http.url = to.endpoint.url() + canonical_path(sign.path, PathMode::s3);
    if (!sign.query.empty())
        http.url += '?' + canonical_query(sign.query);
    http.headers = std::move(sign.headers);
    http.headers.emplace_back("authorization", std::move(authorization));
    http.body = request.body;
    http.stall_time = request.stall_time;
    http.fresh_connection = !request.repeatable;
    if (request.choose_sink)
        http.choose_sink = [&](const HttpResponse& head) -> Sink* {
            return head.status / 100 == 2 ? request.choose_sink(head) : nullptr;
        };
    std::int64_t sent = 0;
    if (request.on_sent)
        http.on_sent = [&](std::int64_t bytes) {
            sent += bytes;
            request.on_sent(bytes);
        };

    S3Reply reply;
    reply.http = http_.perform(http);
    reply.credentials = std::move(who);
    if (reply.http.status / 100 != 2 || request.error_in_200)
        reply.error = parse_s3_error(reply.http.body);
    note_date(reply.http);
    if (sent && !reply.ok())
        request.on_sent(-sent);
    const std::string* id = reply.http.header("x-amz-request-id");
    log_.debug(request.what + ": " +
               (reply.http.status ? std::to_string(reply.http.status) : "no reply") +
               (reply.error ? ' ' + reply.error->code : "") +
               (reply.http.transport != Transport::ok ? ", " + reply.http.transport_error : "") +
               " in " + format_duration(reply.http.duration) + (id ? ", request " + *id : ""));
    return reply;
}

S3Reply S3Client::send(const S3Request& request) {
    std::string payload_hash = hash_body(request.body, stop_);
    S3Retry retry(*this, request);
    for (;;) {
        S3Reply reply = attempt(request, payload_hash);
        if (reply.ok() || !retry.again(reply))
            return reply;
    }
}

S3Reply S3Client::expect_ok(const S3Request& request) {
    S3Reply reply = send(request);
    if (!reply.ok())
        throw failure(reply, request);
    return reply;
}

Error S3Client::failure(const S3Reply& reply, const S3Request& request) const {
    const std::string& what = request.what;
    Outcome outcome = reply.outcome();
    ErrorKind kind = error_kind(outcome);
    std::string hint;
    if (outcome.transport != Transport::ok) {
        if (outcome.transport == Transport::untrusted)
            hint = "set AWS_CA_BUNDLE to the certificate authority of this server";
        return Error(
            kind, what + ": " + reply.http.transport_error + " (" + target().endpoint.url() + ')',
            hint);
    }
    if (outcome.code == "NoSuchBucket")
        return Error(ErrorKind::not_found, what + ": bucket " + settings_.bucket +
                                               " does not exist at " + target().endpoint.url());
    if (request.of_upload && outcome.status == 404) // Ceph: NoSuchKey for an id that is none
        kind = ErrorKind::gone;
    std::string message = what + ": " + std::to_string(outcome.status);
    if (reply.error)
        message += ' ' + reply.error->code;
    if (reply.error && !reply.error->message.empty())
        message += ": " + reply.error->message.substr(0, 300);
    if (const std::string* id = reply.http.header("x-amz-request-id"))
        message += " (request " + *id + ')';
    if (kind == ErrorKind::denied) {
        hint = "the credentials came from " + reply.credentials.source;
        if (outcome.code == "AccessDenied" || outcome.code.empty())
            hint += "; they need " +
                    needed_right(settings_.bucket, request.method, request.key, request.query);
    } else if (classify(outcome) == Verdict::region) {
        hint = "set the bucket's region or endpoint in the store url, now " + target().region +
               " at " + target().endpoint.url();
    }
    return Error(kind, message, hint);
}

StoreAccess S3Client::access() {
    const Target to = target();
    return {to.endpoint.url() + to.endpoint.path, to.region, credentials_.get().source};
}

Millis S3Client::clock_offset() const {
    std::int64_t seen = seen_offset_ms_.load();
    if (seen == kNoOffsetSeen)
        return Millis(0);
    const Millis offset = TimePoint(Millis(seen) + boot_time()) - now_wall();
    return std::chrono::abs(offset) < std::chrono::seconds(2) ? Millis(0) : offset;
}

void S3Client::note_date(const HttpResponse& response) {
    const std::string* text = response.header("date");
    auto date = text ? parse_http_date(*text) : std::nullopt;
    if (!date)
        return;
    // `Date` was written before the reply arrived: each sample is at most the true offset, so the
    // largest is the best. Against the boot clock: our own may be set while we run.
    std::int64_t offset = (date->time_since_epoch() - boot_time()).count();
    std::int64_t seen = seen_offset_ms_.load();
    while (offset > seen && !seen_offset_ms_.compare_exchange_weak(seen, offset)) {
    }
}

bool S3Client::learn_clock(const S3Reply& reply) {
    std::optional<TimePoint> server;
    if (const std::string* text = reply.http.header("date"))
        server = parse_http_date(*text);
    if (!server && reply.error && !reply.error->server_time.empty()) {
        try {
            server = parse_time(reply.error->server_time);
        } catch (const Error&) {
            return false;
        }
    }
    if (!server)
        return false;
    std::int64_t offset = std::chrono::duration_cast<Millis>(*server - now_wall()).count();
    signing_offset_ms_ = offset;
    log_.info("the store's clock differs from ours by " + std::to_string(offset / 1000) +
              " s, signing with its time");
    return true;
}

bool S3Client::may_redirect_to(const std::string& host) const {
    std::string own = settings_.endpoint ? settings_.endpoint->host() : "s3.amazonaws.com";
    if (is_aws_host(own))
        return is_aws_host(host);
    bool is_address = own.back() == ']' || (own.back() >= '0' && own.back() <= '9');
    return is_address ? host == own : host_within(host, own);
}

/// True if the next attempt goes elsewhere than the one that got @p reply.
bool S3Client::learn_region(const S3Reply& reply) {
    std::string region;
    if (const std::string* header = reply.http.header("x-amz-bucket-region"))
        region = *header;
    else if (reply.error)
        region = reply.error->region;
    std::lock_guard lock(mutex_);
    if (is_region_name(region) && region != region_) {
        log_.info("bucket " + settings_.bucket + " is in region " + region);
        region_ = region;
        redirected_.reset();
        return true;
    }
    std::string url;
    if (const std::string* location = reply.http.header("location"))
        url = location->substr(0, location->find('?'));
    else if (reply.error)
        url = "https://" + reply.error->endpoint;
    Endpoint to;
    try {
        to = Endpoint::parse(url, "redirect");
    } catch (const Error&) {
        return false;
    }
    // A signature is proof of our key: nobody else gets to see one.
    if (!may_redirect_to(to.host()) || redirected_ == to.authority)
        return false;
    log_.info("bucket " + settings_.bucket + " is served by " + to.authority);
    redirected_ = to.authority;
    return true;
}

void S3Client::pause(Millis delay) const {
    std::mutex mutex;
    std::condition_variable_any woken;
    std::unique_lock lock(mutex);
    woken.wait_for(lock, stop_, delay, [] { return false; });
    if (stop_.stop_requested())
        throw Interrupted();
}

double S3Client::random() {
    std::lock_guard lock(mutex_);
    return std::uniform_real_distribution<double>(0, 1)(random_);
}

S3Retry::S3Retry(S3Client& client, const S3Request& request)
    : client_(client), request_(request), began_(Clock::now()) {}

void S3Retry::progress() {
    began_ = Clock::now();
    attempt_ = 0;
}

bool S3Retry::again(const S3Reply& reply) {
    Outcome outcome = reply.outcome();
    ++attempts_;
    switch (classify(outcome)) {
    case Verdict::ok:
    case Verdict::fail:
        return false;
    case Verdict::clock:
        return !std::exchange(clock_learned_, true) && client_.learn_clock(reply);
    case Verdict::refresh:
        return !std::exchange(refreshed_, true) && client_.credentials_.refresh(reply.credentials);
    case Verdict::region:
        return !std::exchange(region_learned_, true) && client_.learn_region(reply);
    case Verdict::retry:
        break;
    }
    if (!request_.repeatable && may_have_happened(outcome))
        return false;
    std::optional<Millis> retry_after;
    if (const std::string* text = reply.http.header("retry-after"))
        retry_after = parse_retry_after(*text, now_wall());
    auto elapsed = std::chrono::duration_cast<Millis>(Clock::now() - began_);
    auto delay = retry_delay(attempt_, elapsed, client_.retry_for_, retry_after, client_.random());
    if (!delay || (client_.deadline_ && Clock::now() + *delay >= *client_.deadline_))
        return false;
    ++attempt_;
    std::string why = outcome.transport != Transport::ok
                          ? reply.http.transport_error
                          : std::to_string(outcome.status) + ' ' + outcome.code;
    client_.log_.retrying(
        {request_.what, why, *delay, std::max(client_.retry_for_ - elapsed, Millis(0))});
    client_.pause(*delay);
    return true;
}

} // namespace zl
