#include "wal/snapshot.hpp"
