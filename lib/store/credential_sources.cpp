#include "store/credential_sources.hpp"

#include "base/file.hpp"
#include "base/json.hpp"
#include "store/subprocess.hpp"

#include <algorithm>
#include <array>

namespace zl {

namespace {

constexpr Millis kMetadataConnect{1000};
constexpr Millis kMetadataStall{2000};
constexpr const char* kContainerHost = "http://169.254.170.2";
constexpr const char* kInstanceHost = "http://169.254.169.254";

/// A link-local request: never by a proxy, and quick to give up.
HttpResponse metadata_request(const CredentialContext& c, std::string method, std::string url,
                              HeaderList headers) {
    HttpRequest request;
    request.method = std::move(method);
    request.url = std::move(url);
    request.headers = std::move(headers);
    MemoryBody nothing("");
    if (request.method == "PUT")
        request.body = &nothing;
    request.bypass_proxy = true;
    request.connect_timeout = kMetadataConnect;
    request.stall_time = kMetadataStall;
    request.max_body = 64 << 10;
    return c.http.perform(request);
}

/// Plain http only to the addresses that AWS documents for it.
void check_container_url(const Endpoint& endpoint) {
    static constexpr std::array<std::string_view, 5> kAllowed = {
        "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]", "localhost", "[::1]"};
    std::string host = endpoint.host();
    bool allowed = endpoint.scheme == "https" || host.starts_with("127.") ||
                   std::find(kAllowed.begin(), kAllowed.end(), host) != kAllowed.end();
    if (!allowed)
        throw Error(ErrorKind::config,
                    "AWS_CONTAINER_CREDENTIALS_FULL_URI: host " + host + " needs https");
}

std::string read_token_file(const std::string& path, const std::string& variable) {
    auto text = read_file(path, 64 << 10);
    if (!text)
        throw Error(ErrorKind::denied, variable + ": " + path + " does not exist");
    return std::string(trim(*text));
}

std::string container_token(const CredentialContext& c) {
    constexpr const char* kFile = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
    auto file = c.environment(kFile);
    std::string token = file && !file->empty()
                            ? read_token_file(*file, kFile)
                            : c.environment("AWS_CONTAINER_AUTHORIZATION_TOKEN").value_or("");
    if (token.find_first_of("\r\n") != std::string::npos)
        throw Error(ErrorKind::config, "the container authorization token holds a line break");
    return token;
}

} // namespace

Credentials parse_credential_json(const std::string& text, const char* token_field,
                                  const std::string& source) {
    Credentials out;
    try {
        Json json = parse_json(text, source);
        auto optional_text = [&](const char* field) {
            auto it = json.find(field);
            return it != json.end() && it->is_string() ? it->get<std::string>() : std::string();
        };
        out.access_key_id = json_string(json, "AccessKeyId", source);
        out.secret_access_key = json_string(json, "SecretAccessKey", source);
        out.session_token = optional_text(token_field);
        if (std::string expires = optional_text("Expiration"); !expires.empty())
            out.expires = parse_time(expires);
    } catch (const Error&) {
        // The parser's message may quote the document.
        throw Error(ErrorKind::denied, source + ": not a credential document");
    }
    if (out.access_key_id.empty() || out.secret_access_key.empty())
        throw Error(ErrorKind::denied, source + ": empty keys");
    out.source = source;
    return out;
}

Credentials from_process(const CredentialContext& c, const std::string& command,
                         const std::string& profile) {
    std::string source = "credential_process of profile \"" + profile + '"';
    constexpr Millis kLimit{std::chrono::minutes(1)};
    ProcessResult result = run_shell(command, kLimit, 256 << 10, c.stop);
    if (!result.finished)
        throw Error(ErrorKind::transient, source + ": still running after a minute");
    if (result.status != 0)
        throw Error(ErrorKind::denied,
                    source + ": failed with status " + std::to_string(result.status));
    return parse_credential_json(result.output, "SessionToken", source);
}

std::optional<Credentials> from_container(const CredentialContext& c) {
    auto relative = c.environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    auto full = c.environment("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    std::string url;
    if (relative && !relative->empty())
        url = kContainerHost + *relative;
    else if (full && !full->empty())
        url = *full;
    else
        return std::nullopt;
    Endpoint endpoint =
        Endpoint::parse(url.substr(0, url.find('?')), "AWS_CONTAINER_CREDENTIALS_FULL_URI");
    check_container_url(endpoint);
    HeaderList headers;
    if (std::string token = container_token(c); !token.empty())
        headers.emplace_back("authorization", token);
    std::string source = "the container endpoint " + endpoint.url();
    HttpResponse reply = metadata_request(c, "GET", url, headers);
    if (reply.transport != Transport::ok)
        throw Error(ErrorKind::transient, source + ": " + reply.transport_error);
    if (reply.status != 200)
        throw Error(reply.status >= 500 ? ErrorKind::transient : ErrorKind::denied,
                    source + ": status " + std::to_string(reply.status));
    return parse_credential_json(reply.body, "Token", source);
}

std::optional<Credentials> from_instance_metadata(const CredentialContext& c, std::string& why) {
    if (ascii_lower(c.environment("AWS_EC2_METADATA_DISABLED").value_or("")) == "true") {
        why = "off (AWS_EC2_METADATA_DISABLED)";
        return std::nullopt;
    }
    std::string base = c.environment("AWS_EC2_METADATA_SERVICE_ENDPOINT").value_or("");
    if (base.empty())
        base = kInstanceHost;
    Endpoint endpoint = Endpoint::parse(base, "AWS_EC2_METADATA_SERVICE_ENDPOINT");
    base = endpoint.url() + endpoint.path;
    std::string source = "the instance metadata at " + endpoint.url();

    HttpResponse token = metadata_request(c, "PUT", base + "/latest/api/token",
                                          {{"x-aws-ec2-metadata-token-ttl-seconds", "21600"}});
    if (token.transport != Transport::ok || token.status != 200) {
        why = token.status ? "status " + std::to_string(token.status) : "no answer";
        return std::nullopt;
    }
    HeaderList headers = {{"x-aws-ec2-metadata-token", std::string(trim(token.body))}};
    std::string path = base + "/latest/meta-data/iam/security-credentials/";
    HttpResponse roles = metadata_request(c, "GET", path, headers);
    std::string role(trim(roles.body.substr(0, roles.body.find('\n'))));
    if (roles.transport != Transport::ok || roles.status != 200 || role.empty()) {
        why = "no role is attached to this machine";
        return std::nullopt;
    }
    HttpResponse reply = metadata_request(c, "GET", path + uri_encode(role, false), headers);
    if (reply.transport != Transport::ok || reply.status != 200)
        throw Error(ErrorKind::transient,
                    source + ": role " + role + ": status " + std::to_string(reply.status));
    return parse_credential_json(reply.body, "Token", source);
}

} // namespace zl
