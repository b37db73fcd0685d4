#include "wal/retention.hpp"
