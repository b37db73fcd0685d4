#include "transfer/prune_notice.hpp"

#include "base/crash_point.hpp"
#include "base/json.hpp"
#include "transfer/layer_keys.hpp"

#include <algorithm>
#include <chrono>
#include <random>
#include <thread>

namespace zl {

namespace {

constexpr Millis kPoll{500};
constexpr const char* kSuffix = ".doomed";

std::vector<ObjectInfo> list_notices(ObjectStore& store, const std::string& prefix) {
    std::vector<ObjectInfo> out;
    store.list(prune_notices_prefix(prefix), {}, [&](const ObjectInfo& o) {
        if (o.key.ends_with(kSuffix))
            out.push_back(o);
        return true;
    });
    return out;
}

bool is_dead(ObjectStore& store, const ObjectInfo& notice) {
    return now_wall() + store.clock_offset() - notice.last_modified > notice_life();
}

/// One that cannot be read may name anything.
bool names(ObjectStore& store, const ObjectInfo& notice, const std::string& digest) {
    try {
        auto text = get_text(store, notice.key);
        if (!text)
            return false;
        const Json j = parse_json(*text, store.describe(notice.key));
        if (!j.is_object() || !j.contains("digests") || !j["digests"].is_array())
            return true;
        const Json& digests = j["digests"];
        return std::any_of(digests.begin(), digests.end(), [&](const Json& d) {
            return !d.is_string() || d.get<std::string>() == digest;
        });
    } catch (const Error& e) {
        if (e.kind() != ErrorKind::data)
            throw;
        return true;
    }
}

} // namespace

Millis notice_life() {
    return test_duration("ZL_TEST_NOTICE_LIFE", std::chrono::minutes(5));
}

std::string write_prune_notice(ObjectStore& store, const std::string& prefix,
                               const std::vector<std::string>& digests) {
    std::random_device rd;
    char suffix[18];
    std::snprintf(suffix, sizeof suffix, "%08x%08x", static_cast<unsigned>(rd()),
                  static_cast<unsigned>(rd()));
    const TimePoint now = now_wall() + store.clock_offset();
    const std::string key =
        prune_notices_prefix(prefix) + format_key_time(now) + "-" + suffix + kSuffix;
    Json j;
    j["created_at"] = format_rfc3339(now);
    j["digests"] = digests;
    put_text(store, key, dump_json(j) + "\n");
    return key;
}

std::vector<std::string> dead_prune_notices(ObjectStore& store, const std::string& prefix) {
    std::vector<std::string> out;
    for (const ObjectInfo& n : list_notices(store, prefix))
        if (is_dead(store, n))
            out.push_back(n.key);
    return out;
}

void await_prunes(ObjectStore& store, const std::string& prefix, const std::string& digest,
                  Log& log, std::stop_token stop) {
    std::vector<ObjectInfo> waiting;
    for (ObjectInfo& n : list_notices(store, prefix))
        if (!is_dead(store, n) && names(store, n, digest))
            waiting.push_back(std::move(n));
    if (!waiting.empty())
        log.info("zl-prune may be deleting sha256:" + digest + ": waiting for its end");
    while (!waiting.empty()) {
        if (stop.stop_requested())
            throw Interrupted();
        std::this_thread::sleep_for(kPoll);
        std::vector<ObjectInfo> there = list_notices(store, prefix);
        std::erase_if(waiting, [&](const ObjectInfo& n) {
            return is_dead(store, n) || std::none_of(there.begin(), there.end(),
                                                     [&](auto& t) { return t.key == n.key; });
        });
    }
}

} // namespace zl
