#include "base/error.hpp"
#include "prune/layer_plan.hpp"

#include <doctest/doctest.h>

using namespace zl;
using std::chrono::hours;

namespace {

const TimePoint kNow = parse_time("2026-11-22T12:00:00Z");
constexpr Millis kGrace = hours(24);

std::string digest(char c) {
    return std::string(64, c);
}

ObjectInfo object(const std::string& key, Millis age, std::uint64_t size = 10) {
    return {key, size, "e", kNow - age, {}};
}

struct Store {
    LayerInventory inventory;
    std::set<std::string> damaged; ///< keys of refs
    int read = 0;

    Store& layer(char c, Millis age, std::optional<Millis> doomed = {}, bool raw = false) {
        LayerObjects l{digest(c), raw, object("o", age, 100), object("m", age), {}};
        if (doomed)
            l.doomed = object("d", *doomed);
        inventory.layers.push_back(l);
        return *this;
    }
    Store& ref(const std::string& name, char c, Millis age) {
        const TimePoint time = kNow - age;
        inventory.refs.push_back(
            {name, time, digest(c).substr(0, 12), "layers/refs/" + name + "/" + c});
        return *this;
    }
    /// `a=mark b=wait`; refs that go as `-web1/a`
    std::string plan(const LayerScope& scope, const KeepRules& rules) {
        auto read_ref = [&](const RefKey& r) -> std::optional<Ref> {
            ++read;
            if (damaged.contains(r.key))
                return std::nullopt;
            return Ref{r.name, digest(r.key.back()), "layer", r.time, "{}", false};
        };
        LayerPlan p = plan_layers(inventory, scope, rules, read_ref, kNow, kGrace);
        std::string out;
        for (const RefDecision& d : p.refs)
            if (!d.keep())
                out += (out.empty() ? "-" : " -") + d.ref.name + "/" + d.ref.digest12[0];
        for (const LayerDecision& d : p.layers) {
            static const char* names[] = {"mark", "wait", "remove", "unmark"};
            out += (out.empty() ? "" : " ") + std::string(1, d.layer.digest[0]) + "=" +
                   names[static_cast<int>(d.action)];
        }
        return out;
    }
};

const LayerScope kAll{true, {}};
LayerScope only(const std::string& name) {
    return {false, {name}};
}
KeepRules last(int n) {
    KeepRules r;
    r.last = n;
    return r;
}

} // namespace

TEST_SUITE_BEGIN("prune/layer_plan");

TEST_CASE("a ref that no rule keeps goes, its layer is marked") {
    Store s;
    s.layer('a', hours(90))
        .layer('b', hours(1))
        .ref("web1", 'a', hours(90))
        .ref("web1", 'b', hours(1));
    CHECK(s.plan(only("web1"), last(1)) == "-web1/a a=mark");
    CHECK(s.plan(only("web1"), last(2)) == "");
}

TEST_CASE("a layer stays as long as another ref names it, of whatever name") {
    Store s;
    s.layer('a', hours(90)).layer('b', hours(80));
    s.ref("web1", 'a', hours(90)).ref("web1", 'b', hours(80)).ref("web2", 'a', hours(70));
    CHECK(s.plan(only("web1"), last(1)) == "-web1/a");
    CHECK(s.plan(kAll, last(1)) == "-web1/a");
    // The same layer, pushed to the same name again.
    s.ref("web1", 'a', hours(3));
    std::sort(s.inventory.refs.begin(), s.inventory.refs.end(),
              [](auto& x, auto& y) { return std::tie(x.name, x.time) < std::tie(y.name, y.time); });
    CHECK(s.plan(only("web1"), last(1)) == "-web1/a -web1/b b=mark");
}

TEST_CASE("names outside of the scope keep all") {
    Store s;
    s.layer('a', hours(90)).layer('b', hours(80));
    s.ref("web1", 'a', hours(90)).ref("web1", 'b', hours(80));
    s.ref("web1/1", 'a', hours(90)).ref("web1/1", 'b', hours(80));
    CHECK(s.plan(only("web1/1"), last(1)) == "-web1/1/a");
}

TEST_CASE("the second phase needs a mark past its grace, and objects past it") {
    CHECK(Store().layer('a', hours(90), hours(25)).plan(kAll, last(1)) == "a=remove");
    CHECK(Store().layer('a', hours(90), hours(24)).plan(kAll, last(1)) == "a=remove");
    CHECK(Store().layer('a', hours(90), hours(23)).plan(kAll, last(1)) == "a=wait");
    CHECK(Store().layer('a', hours(23), hours(25)).plan(kAll, last(1)) == "a=wait");
    Store meta;
    meta.layer('a', hours(90), hours(25));
    meta.inventory.layers[0].meta->last_modified = kNow - hours(1);
    CHECK(meta.plan(kAll, last(1)) == "a=wait");
}

TEST_CASE("what is left of a layer goes as well: meta.json, a mark") {
    Store s;
    s.layer('a', hours(90), hours(25)).layer('b', hours(90), hours(25)).layer('c', hours(90));
    s.inventory.layers[0].object.reset();
    s.inventory.layers[1].object.reset();
    s.inventory.layers[1].meta.reset();
    s.inventory.layers[2].object.reset();
    CHECK(s.plan(kAll, last(1)) == "a=remove b=remove c=mark");
}

TEST_CASE("without a name: marked after the grace, and only by --all") {
    Store s;
    s.layer('a', hours(90)).layer('b', hours(90)).layer('c', hours(23)).ref("web1", 'a', hours(90));
    CHECK(s.plan(kAll, last(1)) == "b=mark c=wait");
    CHECK(s.plan(only("web1"), last(1)) == "");
}

TEST_CASE("a mark of a layer that is named is taken back, by any prune") {
    Store s;
    s.layer('a', hours(90), hours(48)).layer('b', hours(80)).ref("web1", 'b', hours(80));
    s.ref("web2", 'a', hours(1));
    CHECK(s.plan(only("web1"), last(1)) == "a=unmark");
}

TEST_CASE("a mark made while it had a name is made anew when it loses it") {
    Store s;
    s.layer('a', hours(90), hours(48)).layer('b', hours(80));
    s.ref("web1", 'a', hours(90)).ref("web1", 'b', hours(80));
    CHECK(s.plan(only("web1"), last(1)) == "-web1/a a=mark");
}

TEST_CASE("what is marked is removed by a prune of other names too") {
    Store s;
    s.layer('a', hours(90), hours(48)).layer('b', hours(80)).ref("web1", 'b', hours(80));
    CHECK(s.plan(only("web1"), last(1)) == "a=remove");
}

TEST_CASE("a ref whose layer is missing does not push out the last good one") {
    Store s;
    s.layer('a', hours(90)).layer('b', hours(80));
    s.ref("web1", 'a', hours(90)).ref("web1", 'b', hours(80)).ref("web1", 'c', hours(1));
    CHECK(s.plan(only("web1"), last(1)) == "-web1/a a=mark");
}

TEST_CASE("a damaged ref does not push out the last one that can be read") {
    Store s;
    s.layer('a', hours(90)).layer('b', hours(80)).layer('c', hours(1));
    s.ref("web1", 'a', hours(90)).ref("web1", 'b', hours(80)).ref("web1", 'c', hours(1));
    s.damaged = {"layers/refs/web1/c"};
    CHECK(s.plan(only("web1"), last(1)) == "-web1/a a=mark");
    // Its key has the digits of a layer that is there, but it names another.
    s.damaged.clear();
    s.inventory.refs.back().digest12 = digest('b').substr(0, 12);
    s.inventory.refs.back().key = "layers/refs/web1/d";
    CHECK(s.plan(only("web1"), last(1)) == "-web1/a a=mark");
}

TEST_CASE("no more refs are read than tell the newest that is good") {
    Store s;
    s.layer('a', hours(90)).layer('b', hours(80));
    s.ref("one", 'a', hours(90)).ref("web1", 'a', hours(90)).ref("web1", 'b', hours(80));
    s.plan(kAll, last(1));
    CHECK(s.read == 1);
}

TEST_CASE("raw and other layers with the same digits are both named") {
    Store s;
    s.layer('a', hours(90), hours(48))
        .layer('a', hours(90), hours(48), true)
        .ref("x", 'a', hours(1));
    CHECK(s.plan(kAll, last(1)) == "a=unmark a=unmark");
}

TEST_CASE("a key below refs/ that we cannot read names what its digits say") {
    Store s;
    s.layer('a', hours(90), hours(48)).layer('b', hours(90), hours(48));
    s.inventory.unknown = {"layers/refs/web1/soon-" + digest('a').substr(0, 12) + ".json",
                           "layers/refs/web1/zzzzzzzzzzzz.json", "x.json"};
    CHECK(s.plan(kAll, last(1)) == "a=unmark b=remove");
}

TEST_CASE("a name without a ref is an error") {
    Store s;
    s.layer('a', hours(90)).ref("web1", 'a', hours(90));
    CHECK_THROWS_AS(s.plan(only("web"), last(1)), Error);
}

TEST_SUITE_END();
