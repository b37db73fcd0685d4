#include "wal/replica_head.hpp"
