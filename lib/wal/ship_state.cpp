#include "wal/ship_state.hpp"
