/// AWS Security Token Service, the two actions that turn one identity into a role's
/// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html).
#include "base/file.hpp"
#include "store/credential_sources.hpp"
#include "store/retry.hpp"
#include "store/s3_xml.hpp"

#include <algorithm>
#include <condition_variable>

namespace zl {

namespace {

constexpr Millis kBudget{std::chrono::seconds(20)};

Endpoint sts_endpoint(const CredentialContext& c, const std::string& region) {
    for (const char* name : {"AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"})
        if (auto url = c.environment(name); url && !url->empty())
            return Endpoint::parse(*url, name);
    std::string domain = region.starts_with("cn-") ? ".amazonaws.com.cn" : ".amazonaws.com";
    return {"https", "sts." + region + domain, ""};
}

QueryParams parameters(const CredentialContext& c, const std::string& action, const Role& role) {
    std::string session = role.session_name;
    if (session.empty())
        session = "zl-" + std::to_string(c.clock().time_since_epoch().count());
    QueryParams out = {{"Action", action},
                       {"Version", "2011-06-15"},
                       {"RoleArn", role.arn},
                       {"RoleSessionName", session}};
    if (!role.external_id.empty())
        out.emplace_back("ExternalId", role.external_id);
    if (!role.duration_seconds.empty())
        out.emplace_back("DurationSeconds", role.duration_seconds);
    return out;
}

/// One signed (or, without @p by, unsigned) form POST.
HttpResponse post(const CredentialContext& c, const Endpoint& endpoint, const std::string& region,
                  const MemoryBody& body, const std::string& body_hash, const Credentials* by) {
    HttpRequest request;
    request.method = "POST";
    request.url = endpoint.url() + canonical_path(endpoint.path + '/', PathMode::s3);
    request.headers = {{"host", endpoint.authority},
                       {"content-type", "application/x-www-form-urlencoded"}};
    request.body = &body;
    request.max_body = 256 << 10;
    if (by) {
        TimePoint now = c.clock();
        request.headers.emplace_back("x-amz-date", amz_date(now));
        if (!by->session_token.empty())
            request.headers.emplace_back("x-amz-security-token", by->session_token);
        SigV4Request sign{"POST", endpoint.path + '/', {}, request.headers, body_hash};
        SigningKeyCache cache;
        request.headers.emplace_back("authorization",
                                     authorization_header(sign, PathMode::normalized,
                                                          by->access_key_id, by->secret_access_key,
                                                          now, {region, "sts"}, cache));
    }
    return c.http.perform(request);
}

void pause(const CredentialContext& c, Millis delay) {
    std::mutex mutex;
    std::condition_variable_any woken;
    std::unique_lock lock(mutex);
    woken.wait_for(lock, c.stop, delay, [] { return false; });
    if (c.stop.stop_requested())
        throw Interrupted();
}

Credentials call(const CredentialContext& c, const QueryParams& form, const Role& role,
                 const Credentials* by, const std::string& source) {
    std::string region = role.region.empty() ? c.region : role.region;
    Endpoint endpoint = sts_endpoint(c, region);
    std::string text = canonical_query(form);
    std::string hash = sha256(as_bytes(text)).hex();
    MemoryBody body(std::move(text));
    auto began = std::chrono::steady_clock::now();
    for (int attempt = 0;; ++attempt) {
        HttpResponse reply = post(c, endpoint, region, body, hash, by);
        auto error = parse_s3_error(reply.body);
        Outcome outcome{reply.transport, reply.status, error ? error->code : ""};
        if (classify(outcome) == Verdict::ok) {
            StsCredentials got = parse_sts_credentials(reply.body);
            Credentials out{
                got.access_key_id, got.secret_access_key, got.session_token, {}, source};
            if (!got.expiration.empty())
                out.expires = parse_time(got.expiration);
            return out;
        }
        std::optional<Millis> delay;
        if (classify(outcome) == Verdict::retry)
            delay = retry_delay(
                attempt,
                std::chrono::duration_cast<Millis>(std::chrono::steady_clock::now() - began),
                kBudget, std::nullopt, 0.5);
        if (!delay) {
            std::string why = reply.transport != Transport::ok ? reply.transport_error
                                                               : std::to_string(reply.status);
            if (error)
                why += ' ' + error->code + ": " + error->message.substr(0, 300);
            ErrorKind kind = error_kind(outcome);
            throw Error(kind == ErrorKind::transient || kind == ErrorKind::config
                            ? kind
                            : ErrorKind::denied,
                        source + ": STS at " + endpoint.url() + ": " + why);
        }
        pause(c, *delay);
    }
}

} // namespace

Credentials assume_role(const CredentialContext& c, const Role& role, const Credentials& by) {
    std::string source = "role " + role.arn + " of " + role.origin + " (by " + by.source + ')';
    return call(c, parameters(c, "AssumeRole", role), role, &by, source);
}

Credentials assume_role_with_token(const CredentialContext& c, const Role& role,
                                   const std::string& token_file) {
    std::string source = "role " + role.arn + " of " + role.origin + " (by " + token_file + ')';
    auto token = read_file(token_file, 64 << 10);
    if (!token)
        throw Error(ErrorKind::denied, source + ": the token file does not exist");
    QueryParams form = parameters(c, "AssumeRoleWithWebIdentity", role);
    form.emplace_back("WebIdentityToken", std::string(trim(*token)));
    return call(c, form, role, nullptr, source);
}

} // namespace zl
