/// RAII over C handles: `using Curl = Handle<CURL, curl_easy_cleanup>;`
#pragma once

#include <memory>

namespace zl {

template <auto del> struct Deleter {
    template <typename T> void operator()(T* p) const noexcept { del(p); }
};

template <typename T, auto del> using Handle = std::unique_ptr<T, Deleter<del>>;

/// Runs @p fn at the end of the scope.
template <typename F> class Finally {
public:
    explicit Finally(F fn) : fn_(std::move(fn)) {}
    Finally(const Finally&) = delete;
    Finally& operator=(const Finally&) = delete;
    ~Finally() { fn_(); }

private:
    F fn_;
};

} // namespace zl
