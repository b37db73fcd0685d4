/// The AWS shared files: ~/.aws/config and ~/.aws/credentials
/// (https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-files.html).
#pragma once

#include "store/open_store.hpp"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace zl {

/// Section name -> setting -> value; setting names in lower case. Nested settings (`s3 =` followed
/// by indented lines) get the name `s3.setting`. Text that is neither is ignored, as AWS's own
/// tools do.
using IniSections = std::map<std::string, std::map<std::string, std::string>>;
IniSections parse_ini(std::string_view text);

/// A setting and the file it was found in.
struct AwsSetting {
    std::string value;
    std::string file;
};

/// All profiles of all files, read once.
class AwsConfig {
public:
    /// Files that do not exist are skipped; one that exists but cannot be read throws denied.
    static AwsConfig load(const Environment& environment);

    /// @p explicit_name, else AWS_PROFILE, else AWS_DEFAULT_PROFILE, else `default`.
    static std::string profile_name(const std::string& explicit_name,
                                    const Environment& environment);
    bool has_profile(const std::string& profile) const;
    /// Credentials files win over the config file.
    std::optional<AwsSetting> get(const std::string& profile, const std::string& setting) const;
    /// Like get(), as text; empty if absent.
    std::string text(const std::string& profile, const std::string& setting) const;
    /// Settings of `[services NAME]`.
    std::string service_text(const std::string& services, const std::string& setting) const;
    /// Each file that was looked at: `/root/.aws/credentials (absent)`.
    const std::vector<std::string>& looked_at() const { return looked_at_; }

private:
    struct File {
        std::string path;
        IniSections profiles; ///< by plain profile name
        IniSections services;
    };
    void add_file(const std::string& path, bool config_syntax);
    std::vector<File> files_; ///< in order of precedence
    std::vector<std::string> looked_at_;
};

} // namespace zl
