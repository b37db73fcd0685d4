/// Prometheus text file for node_exporter's textfile collector: what the last run did.
#pragma once

#include "base/units.hpp"

#include <map>
#include <string>
#include <vector>

namespace zl {

/// Not thread-safe: the tool's main thread sets values, run_tool writes them at the end.
class Metrics {
public:
    explicit Metrics(std::string tool) : tool_(std::move(tool)) {}

    /// The `name` label: what this run was about (zl-push: --name).
    void set_name(std::string name) { name_ = std::move(name); }
    /// A value of the tool's own. @p metric `zl_bytes_total`; ends in `_total` = counter, else
    /// gauge.
    void set(const std::string& metric, double value, const std::string& help,
             const std::map<std::string, std::string>& labels = {});

    struct Run {
        TimePoint started, ended;
        int exit_code = 0;
        bool running = false; ///< a daemon's intermediate state: nothing is said of its end
    };
    /// The file's content. @p previous is the content before: the last success is kept from it when
    /// this run failed. Exit codes 0 and 3 (committed, but incomplete) are success.
    std::string render(const Run& run, const std::string& previous) const;
    /// Replaces @p path (temp + rename, mode 0644). Throws what AtomicFile throws.
    void write(const std::string& path, const Run& run) const;

private:
    struct Sample {
        std::string metric, help;
        std::map<std::string, std::string> labels;
        double value = 0;
    };
    std::string line(const Sample& sample) const;

    std::string tool_, name_;
    std::vector<Sample> samples_;
};

} // namespace zl
