#include "metrics.hpp"

#include "base/file.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace zl {

namespace {

constexpr const char* kLastSuccess = "zl_last_success_timestamp_seconds";

std::string escape(const std::string& value) {
    std::string out;
    for (char c : value) {
        if (c == '\\' || c == '"')
            out += '\\';
        if (c == '\n')
            out += "\\n";
        else
            out += c;
    }
    return out;
}

/// Whole numbers without a fraction, everything else to the millisecond.
std::string number(double value) {
    std::array<char, 64> buffer{};
    const bool whole = std::floor(value) == value && std::fabs(value) < 1e15;
    std::snprintf(buffer.data(), buffer.size(), whole ? "%.0f" : "%.3f", value);
    return buffer.data();
}

double seconds(Millis d) {
    return static_cast<double>(d.count()) / 1000;
}
double seconds(TimePoint t) {
    return seconds(t.time_since_epoch());
}

/// Value of the sample that begins with @p head (`name{labels} `) in @p text; 0 if there is none.
double previous_value(const std::string& text, const std::string& head) {
    std::size_t at = text.starts_with(head) ? 0 : text.find("\n" + head);
    if (at == std::string::npos)
        return 0;
    return std::strtod(text.c_str() + at + (at == 0 ? 0 : 1) + head.size(), nullptr);
}

} // namespace

void Metrics::set(const std::string& metric, double value, const std::string& help,
                  const std::map<std::string, std::string>& labels) {
    auto same = std::find_if(samples_.begin(), samples_.end(), [&](const Sample& s) {
        return s.metric == metric && s.labels == labels;
    });
    if (same != samples_.end())
        same->value = value;
    else
        samples_.push_back({metric, help, labels, value});
}

std::string Metrics::line(const Sample& sample) const {
    std::string out =
        sample.metric + "{tool=\"" + escape(tool_) + "\",name=\"" + escape(name_) + "\"";
    for (const auto& [label, value] : sample.labels)
        out += "," + label + "=\"" + escape(value) + "\"";
    return out + "} " + number(sample.value) + "\n";
}

std::string Metrics::render(const Run& run, const std::string& previous) const {
    Sample success{kLastSuccess, "When a run last did what it was asked to.", {}, 0};
    std::string head = line(success);
    head.resize(head.rfind(' ') + 1);
    const bool good = !run.running && (run.exit_code == 0 || run.exit_code == 3);
    success.value = good ? seconds(run.ended) : previous_value(previous, head);

    std::vector<Sample> all;
    if (!run.running)
        all = {
            {"zl_last_run_timestamp_seconds", "When the last run ended.", {}, seconds(run.ended)},
            {"zl_last_exit_code",
             "Exit code of the last run.",
             {},
             static_cast<double>(run.exit_code)},
            {"zl_duration_seconds",
             "How long the last run took.",
             {},
             seconds(run.ended - run.started)}};
    all.push_back({"zl_build_info", "Version of the tool.", {{"version", ZL_VERSION}}, 1});
    // Without any success so far the sample is left out: a zero would be a date in 1970.
    if (success.value > 0)
        all.insert(all.begin() + (run.running ? 0 : 1), success);
    all.insert(all.end(), samples_.begin(), samples_.end());
    // The format wants all samples of one metric together.
    std::stable_sort(all.begin() + static_cast<std::ptrdiff_t>(all.size() - samples_.size()),
                     all.end(),
                     [](const Sample& a, const Sample& b) { return a.metric < b.metric; });

    std::string out, metric;
    for (const Sample& sample : all) {
        if (sample.metric != metric) {
            metric = sample.metric;
            out += "# HELP " + metric + " " + sample.help + "\n# TYPE " + metric +
                   (metric.ends_with("_total") ? " counter\n" : " gauge\n");
        }
        out += line(sample);
    }
    return out;
}

void Metrics::write(const std::string& path, const Run& run) const {
    std::string text = render(run, read_file(path).value_or(""));
    AtomicFile file(path, 0644);
    file.write(text);
    file.commit();
}

} // namespace zl
