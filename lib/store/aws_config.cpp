#include "store/aws_config.hpp"

#include "base/error.hpp"
#include "base/file.hpp"
#include "store/uri.hpp"

#include <pwd.h>
#include <unistd.h>

namespace zl {

namespace {

/// `~` for the shared files: HOME, else the user database.
std::string home_directory(const Environment& environment) {
    if (auto home = environment("HOME"); home && !home->empty())
        return *home;
    passwd entry{};
    passwd* found = nullptr;
    char buffer[4096];
    if (getpwuid_r(geteuid(), &entry, buffer, sizeof buffer, &found) == 0 && found)
        return found->pw_dir;
    return {};
}

std::string expand_home(std::string path, const Environment& environment) {
    if (path.starts_with("~/"))
        return home_directory(environment) + path.substr(1);
    return path;
}

} // namespace

IniSections parse_ini(std::string_view text) {
    IniSections out;
    std::map<std::string, std::string>* section = nullptr;
    std::string last_name;
    while (!text.empty()) {
        std::size_t end = text.find('\n');
        std::string_view line = text.substr(0, end);
        text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
        bool indented = !line.empty() && (line[0] == ' ' || line[0] == '\t');
        line = trim(line);
        if (line.empty() || line[0] == '#' || line[0] == ';')
            continue;
        if (line[0] == '[') {
            std::size_t close = line.find(']');
            if (close == std::string_view::npos)
                continue;
            section = &out[std::string(trim(line.substr(1, close - 1)))];
            last_name.clear();
            continue;
        }
        std::size_t equals = line.find('=');
        if (!section || equals == std::string_view::npos)
            continue;
        std::string name = ascii_lower(trim(line.substr(0, equals)));
        std::string_view value = line.substr(equals + 1);
        // A comment behind a value begins with blank and sign; `#` alone may be part of a secret.
        for (std::string_view mark : {" #", " ;", "\t#", "\t;"})
            value = value.substr(0, value.find(mark));
        value = trim(value);
        if (indented && !last_name.empty())
            (*section)[last_name + '.' + name] = value;
        else
            (*section)[last_name = name] = value;
    }
    return out;
}

void AwsConfig::add_file(const std::string& path, bool config_syntax) {
    if (path.empty())
        return;
    auto text = read_file(path);
    looked_at_.push_back(path + (text ? "" : " (absent)"));
    if (!text)
        return;
    File file{path, {}, {}};
    for (auto& [name, settings] : parse_ini(*text)) {
        // config: `[default]`, `[profile NAME]`; credentials: `[NAME]`.
        std::string_view rest = name;
        if (config_syntax && rest.starts_with("services ")) {
            file.services[std::string(trim(rest.substr(9)))] = settings;
            continue;
        }
        if (config_syntax && rest.starts_with("profile "))
            rest = trim(rest.substr(8));
        else if (config_syntax && rest != "default")
            continue;
        file.profiles[std::string(rest)] = settings;
    }
    files_.push_back(std::move(file));
}

AwsConfig AwsConfig::load(const Environment& environment) {
    auto path = [&](const char* name, const char* fallback) {
        auto value = environment(name);
        if (value && !value->empty())
            return expand_home(*value, environment);
        std::string home = home_directory(environment);
        return home.empty() ? std::string() : home + fallback;
    };
    AwsConfig out;
    // systemd's LoadCredential=aws-credentials: what the unit was given goes before the home.
    if (auto directory = environment("CREDENTIALS_DIRECTORY"); directory && !directory->empty())
        out.add_file(*directory + "/aws-credentials", false);
    out.add_file(path("AWS_SHARED_CREDENTIALS_FILE", "/.aws/credentials"), false);
    out.add_file(path("AWS_CONFIG_FILE", "/.aws/config"), true);
    return out;
}

std::string AwsConfig::profile_name(const std::string& explicit_name,
                                    const Environment& environment) {
    if (!explicit_name.empty())
        return explicit_name;
    for (const char* name : {"AWS_PROFILE", "AWS_DEFAULT_PROFILE"})
        if (auto value = environment(name); value && !value->empty())
            return *value;
    return "default";
}

bool AwsConfig::has_profile(const std::string& profile) const {
    for (const File& file : files_)
        if (file.profiles.contains(profile))
            return true;
    return false;
}

std::optional<AwsSetting> AwsConfig::get(const std::string& profile,
                                         const std::string& setting) const {
    for (const File& file : files_) {
        auto section = file.profiles.find(profile);
        if (section == file.profiles.end())
            continue;
        auto it = section->second.find(setting);
        if (it != section->second.end() && !it->second.empty())
            return AwsSetting{it->second, file.path};
    }
    return std::nullopt;
}

std::string AwsConfig::text(const std::string& profile, const std::string& setting) const {
    auto found = get(profile, setting);
    return found ? found->value : "";
}

std::string AwsConfig::service_text(const std::string& services, const std::string& setting) const {
    for (const File& file : files_) {
        auto section = file.services.find(services);
        if (section == file.services.end())
            continue;
        if (auto it = section->second.find(setting); it != section->second.end())
            return it->second;
    }
    return {};
}

} // namespace zl
