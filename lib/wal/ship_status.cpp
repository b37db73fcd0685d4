#include "wal/ship_status.hpp"
