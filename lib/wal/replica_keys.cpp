#include "wal/replica_keys.hpp"
