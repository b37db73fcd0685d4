#include "push_dry_run.hpp"

#include "base/json.hpp"
#include "transfer/layer_keys.hpp"
#include "transfer/refs.hpp"

#include <algorithm>

namespace zl {

namespace {

struct Unfinished {
    std::uint64_t pushes = 0, stored_bytes = 0, bytes = 0;
};

Unfinished unfinished(Pusher& pusher, const PushOptions& options, const std::string& identity) {
    Unfinished out;
    for (const Pusher::Pending& p : pusher.list()) {
        if (p.row.store != identity || p.row.prefix != options.prefix ||
            p.row.name != options.name || !p.row.is_pending() || p.lost)
            continue;
        ++out.pushes;
        out.stored_bytes += p.parts_bytes;
        out.bytes += p.row.blob_size;
    }
    return out;
}

std::string describe(const Unfinished& u) {
    if (u.pushes == 0)
        return "nothing";
    return std::to_string(u.pushes) + (u.pushes == 1 ? " push, " : " pushes, ") +
           format_size(u.stored_bytes) + " of " + format_size(u.bytes) +
           " stored: continued by the next run";
}

} // namespace

void push_dry_run(ToolContext& context, Pusher& pusher, const PushOptions& options,
                  ObjectStore& store) {
    const bool json = context.settings().json;
    Json j;
    auto tell = [&](const std::string& what, const std::string& value, const Json& exact = {}) {
        j[what] = exact.is_null() ? Json(value) : exact;
        if (!json)
            context.print(
                what + std::string(std::max<std::size_t>(what.size() + 1, 13) - what.size(), ' ') +
                value);
    };
    tell("store", store.identity());
    const StoreAccess access = store.access();
    if (!access.endpoint.empty()) {
        tell("endpoint", access.endpoint);
        tell("region", access.region);
        tell("credentials", access.credentials);
    }
    const Unfinished left = unfinished(pusher, options, store.identity());
    tell("unfinished", describe(left),
         {{"pushes", left.pushes}, {"stored_bytes", left.stored_bytes}, {"bytes", left.bytes}});

    // A digest that no layer has.
    const std::string key = layer_key(options.prefix, std::string(64, '0'));
    store.head(key);
    tell("readable", "yes", true);
    if (!options.name.empty()) {
        const auto refs = list_refs(store, options.prefix, options.name);
        tell("newest", refs.empty() ? "none of " + options.name : format_rfc3339(refs.back().time),
             refs.empty() ? Json() : Json(format_rfc3339(refs.back().time)));
    }
    store.check_writable(key);
    tell("writable", "yes", true);
    if (json)
        context.print(dump_json(j));
}

} // namespace zl
