/// What a prune does when clocks are wrong. The kills are in tests/pipeline.
#include "../transfer/fixture.hpp"
#include "prune/layer_pruner.hpp"
#include "transfer/layer_keys.hpp"
#include "transfer/prune_notice.hpp"

#include <doctest/doctest.h>

#include <filesystem>

using namespace zl;
using namespace zl::test;
using std::chrono::hours;

namespace {

/// A layer without a name, marked, which by our clock is past its grace.
struct Bench {
    Bench() { store.offset = hours(48); }
    std::string key(const std::string& end) const { return "layers/" + digest + end; }
    void put_layer() {
        for (const char* end : {".tar.zst", ".meta.json", ".doomed"})
            put_text(store, key(end), "x");
    }
    void age(const std::string& key, Millis by) {
        const auto file = dir / "store/" + key;
        std::filesystem::last_write_time(file, std::filesystem::last_write_time(file) - by);
    }
    void prune() {
        LayerInventory inventory = list_layers(store, "layers/");
        const auto no_refs = [](const RefKey&) { return std::optional<Ref>(); };
        LayerPlan plan = plan_layers(inventory, {true, {}}, {}, no_refs,
                                     now_wall() + store.clock_offset(), hours(24));
        REQUIRE(plan.layers.size() == (inventory.layers.empty() ? 0 : 1));
        PruneTotals totals;
        LayerPruner(store, store, "layers/", log, {}).run(plan, totals);
    }

    TempDir dir;
    FaultyStore store{dir / "store"};
    NullLog log;
    const std::string digest = std::string(64, 'a');
};

} // namespace

TEST_SUITE_BEGIN("prune/layer_pruner");

TEST_CASE("a clock that is two days ahead deletes nothing that the store takes for young") {
    Bench b;
    b.put_layer();
    b.prune();
    CHECK(b.store.head(b.key(".tar.zst")));
    for (const char* end : {".tar.zst", ".meta.json"})
        b.age(b.key(end), hours(25));
    b.prune();
    CHECK(b.store.head(b.key(".tar.zst")));
    b.age(b.key(".doomed"), hours(25));
    b.prune();
    for (const char* end : {".tar.zst", ".meta.json", ".doomed"})
        CHECK(!b.store.head(b.key(end)));
    CHECK(list_prune_notices(b.store, "layers/").empty());
}

TEST_CASE("another prune's notice is removed when it is old by the store's times, not by ours") {
    Bench b;
    const std::string other = write_prune_notice(b.store, "layers/", {b.digest}).key;
    b.prune();
    REQUIRE(list_prune_notices(b.store, "layers/").size() == 1);
    b.age(other, hours(25));
    b.store.offset = Millis(0);
    b.prune();
    CHECK(list_prune_notices(b.store, "layers/").empty());
}

TEST_SUITE_END();
