#include "wal/restorer.hpp"
