/// Where credentials come from when they are not simply written down: a program, a container's or a
/// machine's metadata service, AWS STS. Each fetches anew and says in Credentials::source where it
/// was. Failures: denied (refused, or an answer without keys), config (settings that cannot work),
/// transient (no answer). No message ever holds a key, a token or a document that may hold one.
#pragma once

#include "store/credentials.hpp"

namespace zl {

/// `credential_process`: run by the shell, JSON version 1 on its stdout, at most a minute.
Credentials from_process(const CredentialContext& context, const std::string& command,
                         const std::string& profile);

/// AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI (ECS, EKS pod identity); nullopt: neither is
/// set.
std::optional<Credentials> from_container(const CredentialContext& context);

/// IMDSv2 of the machine; nullopt with the reason in @p why: switched off, no answer, no role.
std::optional<Credentials> from_instance_metadata(const CredentialContext& context,
                                                  std::string& why);

/// STS settings of one role.
struct Role {
    std::string arn;
    std::string session_name; ///< empty = made up
    std::string external_id;
    std::string duration_seconds;
    std::string region;
    std::string origin; ///< for messages: `profile "x"`
};
/// AssumeRole, signed by @p by.
Credentials assume_role(const CredentialContext& context, const Role& role, const Credentials& by);
/// AssumeRoleWithWebIdentity with the token in @p token_file, which is read each time.
Credentials assume_role_with_token(const CredentialContext& context, const Role& role,
                                   const std::string& token_file);

/// `AccessKeyId, SecretAccessKey, Token|SessionToken, Expiration` of a JSON document.
Credentials parse_credential_json(const std::string& text, const char* token_field,
                                  const std::string& source);

} // namespace zl
