/// A Sink that never waits (memory, not a pipe or a disk).
#pragma once

#include "stream/stream.hpp"

namespace zl {

/// Where a body goes to one of these, HttpClient's loop thread writes it, without the buffer and the
/// hand-over that keep a slow reader from holding up other transfers. Calls do not overlap.
class PromptSink : public Sink {};

} // namespace zl
