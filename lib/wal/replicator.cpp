#include "wal/replicator.hpp"
