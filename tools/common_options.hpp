/// The options that all tools share, and the defaults that depend on who runs them.
#pragma once

#include "base/units.hpp"
#include "options.hpp"

#include <cstdint>
#include <string>

namespace zl {

struct CommonSettings {
    bool help = false, version = false, print_config = false;
    bool quiet = false, json = false;
    int verbose = 0;
    std::string log_format = "auto";
    std::string progress = "auto";
    std::string metrics; ///< empty = none
    std::string config;
    Millis timeout{0}; ///< 0 = none
    // Tools that talk to a store.
    std::string store;
    std::string prefix; ///< empty = `layers/`
    std::string state_dir;
    Millis retry_for{std::chrono::minutes(10)};
    std::uint64_t bwlimit = 0; ///< 0 = unlimited
};

/// --store, --prefix and what else concerns a store. Sets the defaults of @p s first.
void declare_store_options(Options& options, CommonSettings& s, const Environment& environment);
/// Everything else. @p json: the tool has a result to print.
void declare_common_options(Options& options, CommonSettings& s, bool json);

/// /var/lib/zl/store for root, else $XDG_DATA_HOME/zl/store or ~/.local/share/zl/store; empty if
/// there is no home.
std::string default_store(const Environment& environment, bool root);
/// /var/lib/zl for root, else $XDG_STATE_HOME/zl or ~/.local/state/zl; empty if there is no home.
std::string default_state_dir(const Environment& environment, bool root);

/// `zl-push 0.1.0 (layer format 1, libcurl 7.88.1, ...)`: the libraries as loaded.
std::string version_line(const std::string& tool);

} // namespace zl
