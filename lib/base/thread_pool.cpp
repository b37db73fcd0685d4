#include "base/thread_pool.hpp"

#include <system_error>

namespace zl {

ThreadPool::ThreadPool(std::function<void()> stop) : stop_(std::move(stop)) {}

ThreadPool::~ThreadPool() {
    end();
}

void ThreadPool::add(std::function<void()> work) {
    threads_.emplace_back(std::move(work));
}

void ThreadPool::add_up_to(std::size_t count, const std::function<void()>& work) {
    try {
        for (std::size_t i = 0; i < count; ++i)
            add(work);
    } catch (const std::system_error&) { // it takes longer
    }
}

void ThreadPool::join() {
    for (std::thread& t : threads_)
        t.join();
    threads_.clear();
}

void ThreadPool::end() {
    stop_();
    join();
}

} // namespace zl
