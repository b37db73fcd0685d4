/// What a check of a store found, and what all checks are given.
#pragma once

#include "base/report.hpp"
#include "store/object_store.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <mutex>
#include <stop_token>
#include <string>
#include <vector>

namespace zl {

/// One thing. Texts may hold bytes of the store: shown() before they are printed.
struct Finding {
    bool damage = true;  ///< false: worth knowing, nothing is lost
    std::string subject; ///< `web1@2026-11-22T06:00:00.000Z`, `db/app`; empty: nothing names it
    std::string key;     ///< of the object; empty: about several
    std::string what;    ///< what is wrong with it
    std::string affects; ///< which names or moments; may be empty
    std::string advice;  ///< what to do; may be empty
};

/// Thread-safe. Counts and passes on.
class CheckReport {
public:
    CheckReport(std::function<void(const Finding&)> on_finding, Progress& progress)
        : on_finding_(std::move(on_finding)), progress_(progress) {}

    void add(const Finding& finding) {
        std::lock_guard lock(mutex_);
        ++(finding.damage ? damaged_ : notes_);
        on_finding_(finding);
    }
    /// One object was looked at; @p bytes of it were read.
    void checked(std::uint64_t bytes) {
        std::lock_guard lock(mutex_);
        progress_.items(++objects_, 0);
        bytes_ += bytes;
    }
    /// Keys that zl did not write, of which there may be any number. @p below: where they are.
    void unknown(const std::vector<std::string>& keys, const std::string& subject,
                 const std::string& below) {
        constexpr std::size_t kMost = 1000;
        for (std::size_t i = 0; i < std::min(keys.size(), kMost); ++i)
            add({false, subject, keys[i], "not written by zl", "", ""});
        if (keys.size() > kMost)
            add({false, subject, below,
                 std::to_string(keys.size()) + " keys that zl did not write", "", ""});
    }
    std::uint64_t damaged() const { return damaged_; }
    std::uint64_t notes() const { return notes_; }
    std::uint64_t objects() const { return objects_; }
    std::uint64_t bytes() const { return bytes_; }

private:
    std::function<void(const Finding&)> on_finding_;
    Progress& progress_;
    std::mutex mutex_;
    std::uint64_t damaged_ = 0, notes_ = 0, objects_ = 0, bytes_ = 0;
};

struct CheckContext {
    ObjectStore& store;
    CheckReport& report;
    Progress& progress;
    std::stop_token stop;
    int jobs = 8;
    bool full = false; ///< every byte; else what a few small requests an object tell

    void check_stop() const {
        if (stop.stop_requested())
            throw Interrupted();
    }
};

} // namespace zl
