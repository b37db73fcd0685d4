/// How each method of ShipState gets at the database. Internal to ShipState.
#pragma once

#include "wal/ship_open.hpp"

#include <mutex>

namespace zl {

template <typename F>
auto ShipState::locked(F f) {
    std::lock_guard lock(mutex_);
    try {
        return f();
    } catch (Error& e) {
        throw ship_open::explain(e, directory_);
    }
}

} // namespace zl
