#include "wal/page_hash.hpp"
