/// Threads that work for one object, and end with it.
#pragma once

#include <functional>
#include <thread>
#include <vector>

namespace zl {

/// Make it the last member: its threads end before what they use goes, also when a constructor
/// fails because the system grants no more threads (a container's pids limit, ulimit -u).
/// Not for use from several threads at a time.
class ThreadPool {
public:
    /// @p stop makes the work end soon; it is called by end(), and must not throw.
    explicit ThreadPool(std::function<void()> stop);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    /// One thread more; @p work must not throw. Throws std::system_error if there is none.
    void add(std::function<void()> work);
    /// Up to @p count more, of which none is needed: those that there are.
    void add_up_to(std::size_t count, const std::function<void()>& work);
    std::size_t size() const { return threads_.size(); }
    /// Waits until each has ended by itself.
    void join();
    /// Stops them, and waits; the destructor does it too.
    void end();

private:
    std::function<void()> stop_;
    std::vector<std::thread> threads_;
};

} // namespace zl
