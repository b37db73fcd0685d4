#include "common_options.hpp"

#include "base/error.hpp"
#include "layer/versions.hpp"
#include "progress.hpp"
#include "state/versions.hpp"
#include "store/store_url.hpp"
#include "store/versions.hpp"
#include "stream/trailer.hpp"
#include "stream/versions.hpp"

#include <unistd.h>

namespace zl {

namespace {

/// $@p variable/zl or $HOME/@p fallback/zl; the XDG specification ignores relative paths.
std::string xdg_dir(const Environment& environment, const std::string& variable,
                    const std::string& fallback) {
    if (auto base = environment(variable); base && base->starts_with("/"))
        return *base + "/zl";
    if (auto home = environment("HOME"); home && home->starts_with("/"))
        return *home + "/" + fallback + "/zl";
    return {};
}

void check_store(const std::string& text) {
    StoreUrl::parse(text);
}

} // namespace

std::string default_store(const Environment& environment, bool root) {
    if (root)
        return "file:///var/lib/zl/store";
    std::string dir = xdg_dir(environment, "XDG_DATA_HOME", ".local/share");
    return dir.empty() ? dir : "file://" + dir + "/store";
}

std::string default_state_dir(const Environment& environment, bool root) {
    return root ? "/var/lib/zl" : xdg_dir(environment, "XDG_STATE_HOME", ".local/state");
}

void declare_store_options(Options& options, CommonSettings& s, const Environment& environment) {
    const bool root = ::geteuid() == 0;
    s.store = default_store(environment, root);
    s.state_dir = default_state_dir(environment, root);
    options.group("Store");
    options.checked("--store", "URL", s.store, check_store,
                    "s3://BUCKET[/ROOT][?endpoint=...], file:///DIR or /DIR");
    options.text("--prefix", "P", s.prefix,
                 "put P in place of layers/ or db/NAME/ in every key, as it stands");
    options.text("--state-dir", "DIR", s.state_dir, "what has to be remembered between runs");
    options.duration("--retry-for", s.retry_for, "keep retrying a request for so long");
    options.rate("--bwlimit", s.bwlimit, "bytes per second at most, such as 10MiB; 0 = no limit");
}

void declare_common_options(Options& options, CommonSettings& s, bool json) {
    options.group("Common");
    options.duration("--timeout", s.timeout, "end the run after that with 75; 0s = no limit");
    options.flag("-q,--quiet", s.quiet, "errors only");
    options.count("-v,--verbose", s.verbose, "say more; -vv: each request, -vvv: everything");
    options.choice("--log-format", {"auto", "text", "json"}, s.log_format,
                   "messages on stderr as text or JSON lines");
    options.checked(
        "--progress", "WHEN", s.progress,
        [](const std::string& text) { progress_setting(text, false, false, false); },
        "auto, never, always, or an interval such as 30s for plain lines");
    if (json)
        options.flag("--json", s.json, "print the result as one JSON object", Scope::command_line);
    options.text("--metrics", "FILE", s.metrics, "write Prometheus metrics at the end");
    options.text("--config", "FILE", s.config, "read FILE instead of the usual zl.conf",
                 Scope::command_line);
    options.flag("--print-config", s.print_config, "print each setting and where it is from",
                 Scope::command_line);
    options.flag("--version", s.version, "print the versions", Scope::command_line);
    options.flag("-h,--help", s.help, "print this", Scope::command_line);
}

std::string version_line(const std::string& tool) {
    return tool + " " ZL_VERSION " (layer format " + std::to_string(kLayerFormat) + ", libcurl " +
           libcurl_version() + ", OpenSSL " + openssl_version() + ", SQLite " + sqlite_version() +
           ", zstd " + zstd_version() + ", libarchive " + libarchive_version() + ")";
}

} // namespace zl
