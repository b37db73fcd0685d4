/// What a store has to do whatever it is made of: the cases of test_conformance.cpp run against
/// each store that for_each_store() opens.
///
///   directory   always, in a temporary directory
///   S3          when ZL_TEST_S3_STORE holds a store url; keys come from AWS_*. Then a server that
///               does not answer is a failure, never a skip.
#pragma once

#include "store/open_store.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace zl::conformance {

/// Smallest part that every S3 takes.
constexpr std::size_t kPart = 5 << 20;

struct Place {
    StoreUrl url; ///< with a fresh root
    bool is_s3 = false;
    StoreOptions options;

    std::unique_ptr<ObjectStore> open() const;
    /// The same place, listed in pages of @p page_size.
    std::unique_ptr<ObjectStore> open_with_pages(int page_size) const;
};

/// Calls @p check once for each store, with an empty root, and removes what it left.
void for_each_store(const std::function<void(const Place&)>& check);

/// The object's text, "(absent)" if there is none.
std::string text_of(ObjectStore& store, const std::string& key, const GetOptions& options = {});
std::vector<std::string> keys(ObjectStore& store, const std::string& prefix,
                              const ListOptions& options = {});
/// Kind of the Error that @p action throws; fails the test if it throws none.
ErrorKind error_of(const std::function<void()>& action);
/// @p size bytes that differ by @p seed and do not repeat in powers of two.
std::string pattern(std::size_t size, unsigned seed);

} // namespace zl::conformance
