#include "base/parallel.hpp"

#include "base/thread_pool.hpp"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>

namespace zl {

void parallel_for(std::size_t count, int jobs, const std::function<void(std::size_t)>& work) {
    if (count == 0)
        return;
    std::atomic<std::size_t> next = 0;
    std::atomic<bool> failed = false;
    std::mutex mutex;
    std::exception_ptr error;
    auto run = [&]() noexcept {
        try {
            for (std::size_t i; !failed && (i = next++) < count;)
                work(i);
        } catch (...) {
            std::lock_guard lock(mutex);
            if (!error)
                error = std::current_exception();
            failed = true;
        }
    };
    {
        ThreadPool others([&] { failed = true; });
        others.add_up_to(std::min(count, static_cast<std::size_t>(std::max(1, jobs))) - 1, run);
        run();
        others.join();
    }
    if (error)
        std::rethrow_exception(error);
}

} // namespace zl
