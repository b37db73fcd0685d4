#include "wal/segment_uploader.hpp"
