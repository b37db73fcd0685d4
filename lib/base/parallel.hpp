/// Run a numbered list of jobs on a few threads.
#pragma once

#include <cstddef>
#include <functional>

namespace zl {

/// Calls @p work(0) .. work(count - 1), at most @p jobs at a time, begun in order, on this thread
/// and others; on fewer if the system grants no more. After the first
/// exception nothing new is begun; it is rethrown when those under way have ended.
void parallel_for(std::size_t count, int jobs, const std::function<void(std::size_t)>& work);

} // namespace zl
