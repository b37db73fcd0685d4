#include "store/credentials.hpp"

#include "store/credential_sources.hpp"

#include <algorithm>

namespace zl {

namespace {

constexpr auto kRefreshAhead = std::chrono::minutes(5);
/// Between two refreshes ahead of time: some sources hand out the same ones until the very end.
constexpr auto kRefreshPause = std::chrono::seconds(30);

std::string variable(const CredentialContext& c, const char* name) {
    return c.environment(name).value_or("");
}

std::optional<Credentials> from_environment(const CredentialContext& c) {
    std::string id = variable(c, "AWS_ACCESS_KEY_ID"),
                secret = variable(c, "AWS_SECRET_ACCESS_KEY");
    if (id.empty() && secret.empty())
        return std::nullopt;
    if (id.empty() || secret.empty())
        throw Error(ErrorKind::denied,
                    std::string(id.empty() ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID") +
                        " is set, but " +
                        (id.empty() ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY") + " is not");
    return Credentials{
        id, secret, variable(c, "AWS_SESSION_TOKEN"), {}, "the environment (AWS_ACCESS_KEY_ID)"};
}

std::optional<Credentials> from_web_identity(const CredentialContext& c) {
    std::string arn = variable(c, "AWS_ROLE_ARN"),
                file = variable(c, "AWS_WEB_IDENTITY_TOKEN_FILE");
    if (arn.empty() || file.empty())
        return std::nullopt;
    Role role{arn, variable(c, "AWS_ROLE_SESSION_NAME"), "", "", c.region, "AWS_ROLE_ARN"};
    return assume_role_with_token(c, role, file);
}

/// One profile and those it refers to.
class ProfileResolver {
public:
    explicit ProfileResolver(const CredentialContext& c) : c_(c) {}

    /// nullopt: the profile says nothing about credentials.
    std::optional<Credentials> resolve(const std::string& profile) {
        bool again = std::find(path_.begin(), path_.end(), profile) != path_.end();
        // A role may name its own profile as the one with the keys.
        if (again && profile == path_.back())
            return static_keys(profile);
        if (again)
            throw config_error(profile, "source_profile leads back to it");
        path_.push_back(profile);
        if (!text(profile, "role_arn").empty())
            return role(profile);
        if (auto found = static_keys(profile))
            return found;
        if (std::string command = text(profile, "credential_process"); !command.empty())
            return from_process(c_, command, profile);
        for (const char* name : {"sso_session", "sso_start_url", "sso_account_id"})
            if (!text(profile, name).empty())
                throw config_error(profile, "AWS SSO is not supported")
                    .with_hint("add to the profile: credential_process = aws configure "
                               "export-credentials --profile SSO_PROFILE");
        return std::nullopt;
    }

private:
    std::string text(const std::string& profile, const char* setting) const {
        return c_.config.text(profile, setting);
    }
    Error config_error(const std::string& profile, const std::string& why) const {
        return Error(ErrorKind::config, "profile \"" + profile + "\": " + why);
    }

    std::optional<Credentials> static_keys(const std::string& profile) const {
        auto id = c_.config.get(profile, "aws_access_key_id");
        auto secret = c_.config.get(profile, "aws_secret_access_key");
        if (!id && !secret)
            return std::nullopt;
        if (!id || !secret)
            throw config_error(profile,
                               std::string(id ? "aws_secret_access_key" : "aws_access_key_id") +
                                   " is missing");
        auto token = c_.config.get(profile, "aws_session_token");
        // A token belongs to the key it stands beside.
        bool ours = token && token->file == id->file;
        return Credentials{id->value,
                           secret->value,
                           ours ? token->value : "",
                           {},
                           "profile \"" + profile + "\" in " + id->file};
    }

    Credentials role(const std::string& profile) {
        Role role{text(profile, "role_arn"),    text(profile, "role_session_name"),
                  text(profile, "external_id"), text(profile, "duration_seconds"),
                  text(profile, "region"),      "profile \"" + profile + '"'};
        if (!text(profile, "mfa_serial").empty())
            throw config_error(profile, "mfa_serial needs a person, which is not supported")
                .with_hint("use a credential_process that has a session");
        if (std::string file = text(profile, "web_identity_token_file"); !file.empty())
            return assume_role_with_token(c_, role, file);
        if (std::string source = text(profile, "source_profile"); !source.empty()) {
            auto by = resolve(source);
            if (!by)
                throw config_error(profile, "source_profile \"" + source + "\" has no credentials");
            return assume_role(c_, role, *by);
        }
        return assume_role(c_, role, named_source(profile));
    }

    Credentials named_source(const std::string& profile) {
        std::string name = text(profile, "credential_source");
        std::optional<Credentials> by;
        std::string why = "is not set up here";
        if (name == "Environment")
            by = from_environment(c_);
        else if (name == "EcsContainer")
            by = from_container(c_);
        else if (name == "Ec2InstanceMetadata")
            by = from_instance_metadata(c_, why);
        else
            throw config_error(profile, name.empty() ? "role_arn without source_profile, "
                                                       "credential_source or "
                                                       "web_identity_token_file"
                                                     : "credential_source \"" + name + '"');
        if (!by)
            throw Error(ErrorKind::denied,
                        "profile \"" + profile + "\": credential_source " + name + ": " + why);
        return *by;
    }

    const CredentialContext& c_;
    std::vector<std::string> path_;
};

std::string join(const std::vector<std::string>& parts) {
    std::string out;
    for (const std::string& part : parts)
        out += (out.empty() ? "" : ", ") + part;
    return out;
}

/// The profile, or an error if it was asked for by name and is not there.
std::optional<Credentials> from_profile(const CredentialContext& c) {
    std::string name = AwsConfig::profile_name(c.profile, c.environment);
    if (c.config.has_profile(name))
        return ProfileResolver(c).resolve(name);
    bool named = !c.profile.empty() || name != "default";
    if (named)
        throw Error(ErrorKind::config, "profile \"" + name + "\" does not exist",
                    "looked at " + join(c.config.looked_at()));
    return std::nullopt;
}

} // namespace

Credentials load_credentials(const CredentialContext& c) {
    if (!c.profile.empty()) {
        if (auto found = from_profile(c))
            return *found;
        throw Error(ErrorKind::denied, "profile \"" + c.profile + "\" has no credentials",
                    "looked at " + join(c.config.looked_at()));
    }
    if (auto found = from_environment(c))
        return *found;
    if (auto found = from_web_identity(c))
        return *found;
    if (auto found = from_profile(c))
        return *found;
    if (auto found = from_container(c))
        return *found;
    std::string why;
    if (auto found = from_instance_metadata(c, why))
        return *found;
    throw Error(
        ErrorKind::denied, "no credentials for S3 were found",
        "looked at AWS_ACCESS_KEY_ID and AWS_WEB_IDENTITY_TOKEN_FILE (not set), profile \"" +
            AwsConfig::profile_name("", c.environment) + "\" in " + join(c.config.looked_at()) +
            ", the container endpoint (not set), instance metadata (" + why + ')');
}

Credentials CredentialCache::get() {
    std::lock_guard lock(mutex_);
    TimePoint now = context_.clock();
    bool expired = current_ && current_->expires && *current_->expires <= now;
    bool soon = current_ && current_->expires && *current_->expires - now < kRefreshAhead;
    if (current_ && !expired && !(soon && now >= next_try_))
        return *current_;
    try {
        load(now);
    } catch (const Error& e) {
        if (!current_)
            throw;
        // What worked before may well work again.
        if (expired)
            throw Error(ErrorKind::transient,
                        "credentials expired and could not be refreshed: " + e.message(), e.hint());
        context_.log.warn("credentials could not be refreshed, the old ones still hold: " +
                          e.message());
    }
    return *current_;
}

bool CredentialCache::refresh(const Credentials& refused) {
    std::lock_guard lock(mutex_);
    if (current_ && !current_->same_keys(refused))
        return true; // another thread was faster
    load(context_.clock());
    return !current_->same_keys(refused);
}

void CredentialCache::load(TimePoint now) {
    next_try_ = now + kRefreshPause;
    if (current_) // somebody may have written new ones
        context_.config = AwsConfig::load(context_.environment);
    current_ = load_credentials(context_);
}

} // namespace zl
