/// One request on its way through libcurl: the easy handle, how it is set up, and what its callbacks
/// keep between the loop thread, which moves it, and the thread that waits for it.
///
/// With http_client.cpp the only place that knows libcurl.
#pragma once

#include "base/handle.hpp"
#include "store/http_client.hpp"
#include "store/token_bucket.hpp"

#include <curl/curl.h>

#include <array>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>

namespace zl {

struct HttpTransfer {
    /// Sets up the handle. @p request and @p bucket outlive the transfer.
    HttpTransfer(const HttpRequest& request, const HttpClient::Options& options,
                 TokenBucket& bucket);
    HttpTransfer(const HttpTransfer&) = delete;
    HttpTransfer& operator=(const HttpTransfer&) = delete;

    const HttpRequest& request;

    // Loop thread only, once submitted
    Handle<CURL, curl_easy_cleanup> easy;
    Handle<curl_slist, curl_slist_free_all> header_list;
    std::array<char, CURL_ERROR_SIZE> error_text{};
    TokenBucket& bucket;
    HttpResponse head;
    bool head_complete = false; ///< what follows are trailers
    std::uint64_t body_offset = 0;
    bool active = false;
    bool send_paused = false; ///< waits for the token bucket
    bool receive_paused = false;
    bool receive_waits_for_reader = false; ///< else for the token bucket
    std::exception_ptr body_failure;

    // Guarded by mutex
    std::mutex mutex;
    std::condition_variable changed;
    bool head_ready = false;
    bool done = false;
    bool interrupted = false;
    bool reader_wanted = false; ///< the loop stopped reading because `pending` is full
    std::string pending;
    Sink* direct = nullptr; ///< takes what arrives from now on; `pending` stays empty
    std::uint64_t sent = 0;
};

/// How libcurl's end of a transfer is called here. @p t still has its handle.
Transport transport_of(CURLcode code, const HttpTransfer& t);

} // namespace zl
