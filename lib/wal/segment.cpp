#include "wal/segment.hpp"
