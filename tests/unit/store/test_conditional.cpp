#include "conformance.hpp"
#include "store/conditional.hpp"

#include <doctest/doctest.h>

#include <map>

using namespace zl;
using namespace zl::conformance;

TEST_SUITE("store/conditional") {
    TEST_CASE("is probed once, tells the truth, and leaves no probe behind") {
        for_each_store([](const Place& place) {
            auto store = place.open();
            std::map<std::string, std::string> facts;
            int asked = 0;
            FactCache cache{[&](const std::string& n) -> std::optional<std::string> {
                                ++asked;
                                auto it = facts.find(n);
                                return it == facts.end() ? std::nullopt : std::optional(it->second);
                            },
                            [&](const std::string& n, const std::string& v) { facts[n] = v; }};
            bool has = has_conditional_create(*store, "p/", cache);
            CHECK(facts.size() == 1);
            CHECK(keys(*store, "").empty());
            // The truth: what a second create really does.
            PutOptions create;
            create.if_none_match = true;
            bool refused = false;
            try {
                store->put("k", MemoryBody("1"), create);
                store->put("k", MemoryBody("2"), create);
            } catch (const Error& e) {
                refused = e.kind() == ErrorKind::conflict;
            }
            CHECK(has == refused);
            facts.begin()->second = has ? "no" : "yes";
            CHECK(has_conditional_create(*store, "p/", cache) != has);
            CHECK(asked == 2);
        });
    }
}
