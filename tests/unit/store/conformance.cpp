#include "conformance.hpp"

#include "base/file.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <random>

namespace zl::conformance {

namespace {

NullLog null_log;

std::string random_name() {
    std::random_device random;
    return "t" + std::to_string(random()) + std::to_string(random());
}

void run_on(const Place& place, const std::string& name,
            const std::function<void(const Place&)>& check) {
    INFO("store: ", name);
    check(place);
    auto store = place.open();
    for (const UploadInfo& upload : store->list_uploads(""))
        store->abort_upload(upload.key, upload.upload_id);
    for (const std::string& key : keys(*store, ""))
        store->remove(key);
}

} // namespace

std::unique_ptr<ObjectStore> Place::open() const {
    return open_store(url, options, null_log);
}

std::unique_ptr<ObjectStore> Place::open_with_pages(int page_size) const {
    StoreOptions paged = options;
    paged.page_size = page_size;
    return open_store(url, paged, null_log);
}

void for_each_store(const std::function<void(const Place&)>& check) {
    StoreOptions options;
    options.retry_for = std::chrono::seconds(20);

    std::string directory = (std::filesystem::temp_directory_path() / random_name()).string();
    Place local{StoreUrl::parse(directory), false, options};
    run_on(local, directory, check);
    std::filesystem::remove_all(directory);

    if (const char* text = std::getenv("ZL_TEST_S3_STORE")) {
        Place s3{StoreUrl::parse(text), true, options};
        s3.url.root += (s3.url.root.empty() ? "" : "/") + random_name();
        run_on(s3, text, check);
    }
}

std::string text_of(ObjectStore& store, const std::string& key, const GetOptions& options) {
    MemorySink sink;
    return store.get(key, sink, options) ? sink.text : "(absent)";
}

std::vector<std::string> keys(ObjectStore& store, const std::string& prefix,
                              const ListOptions& options) {
    std::vector<std::string> out;
    store.list(prefix, options, [&](const ObjectInfo& info) {
        out.push_back(info.key);
        return true;
    });
    return out;
}

ErrorKind error_of(const std::function<void()>& action) {
    try {
        action();
    } catch (const Error& e) {
        INFO("message: ", e.message());
        CHECK(!e.message().empty());
        return e.kind();
    }
    FAIL("no error was thrown");
    return ErrorKind::internal;
}

std::string pattern(std::size_t size, unsigned seed) {
    std::mt19937 random(seed);
    std::string block(65521, '\0'); // a prime
    for (char& c : block)
        c = static_cast<char>(random());
    std::string out;
    out.reserve(size + block.size());
    while (out.size() < size)
        out += block;
    out.resize(size);
    return out;
}

} // namespace zl::conformance
