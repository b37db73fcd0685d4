/// The layer stream (zl-format(5)), all sides of it.
#pragma once

#include "layer/layer_checker.hpp" // IWYU pragma: export
#include "layer/layer_reader.hpp"  // IWYU pragma: export
#include "layer/layer_writer.hpp"  // IWYU pragma: export
