#include "wal/replica_metadata.hpp"
