#include "transfer/prune_notice.hpp"

#include "base/crash_point.hpp"
#include "base/json.hpp"
#include "base/random.hpp"
#include "transfer/layer_keys.hpp"

#include <algorithm>
#include <chrono>
#include <thread>

namespace zl {

namespace {

constexpr Millis kPoll{500};
constexpr const char* kSuffix = ".doomed";

/// One that cannot be read may name anything.
bool names(ObjectStore& store, const PruneNotice& notice, const std::string& digest) {
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

std::vector<PruneNotice> list_prune_notices(ObjectStore& store, const std::string& prefix) {
    std::vector<PruneNotice> out;
    store.list(prune_notices_prefix(prefix), {}, [&](const ObjectInfo& o) {
        if (o.key.ends_with(kSuffix))
            out.push_back({o.key, o.last_modified});
        return true;
    });
    return out;
}

PruneNotice write_prune_notice(ObjectStore& store, const std::string& prefix,
                               const std::vector<std::string>& digests) {
    const TimePoint now = now_wall() + store.clock_offset();
    const std::string key =
        prune_notices_prefix(prefix) + format_key_time(now) + "-" + random_hex(16) + kSuffix;
    Json j;
    j["created_at"] = format_rfc3339(now);
    j["digests"] = digests;
    put_text(store, key, dump_json(j) + "\n");
    for (PruneNotice& n : list_prune_notices(store, prefix))
        if (n.key == key)
            return n;
    throw Error(ErrorKind::transient, store.describe(key) + ": was written, but is not listed");
}

void await_prunes(ObjectStore& store, const std::string& prefix, const std::string& digest,
                  Log& log, std::stop_token stop) {
    std::vector<PruneNotice> waiting = list_prune_notices(store, prefix);
    const Millis seen = boot_time(); // P2: after that
    std::erase_if(waiting, [&](const PruneNotice& n) { return !names(store, n, digest); });
    if (!waiting.empty())
        log.notice("zl-prune may be deleting sha256:" + digest + ": waiting for its end, at most " +
                   format_duration(notice_life()));
    while (!waiting.empty() && boot_time() - seen < notice_life()) {
        if (stop.stop_requested())
            throw Interrupted();
        std::this_thread::sleep_for(kPoll);
        const std::vector<PruneNotice> there = list_prune_notices(store, prefix);
        std::erase_if(waiting, [&](const PruneNotice& n) {
            return std::none_of(there.begin(), there.end(),
                                [&](auto& t) { return t.key == n.key; });
        });
    }
}

} // namespace zl
