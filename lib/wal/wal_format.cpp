#include "wal/wal_format.hpp"
