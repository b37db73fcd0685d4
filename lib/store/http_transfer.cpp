#include "store/http_transfer.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <new>

namespace zl {

namespace {

using HeaderSlist = Handle<curl_slist, curl_slist_free_all>;

/// What one transfer holds for a reader that is slower than the network, twice (one buffer being
/// filled, one being written).
constexpr std::size_t kReceiveBuffer = 1 << 20;
constexpr long kStallBytesPerSecond = 1024;

Transport named(CURLcode code) {
    switch (code) {
    case CURLE_OK:
        return Transport::ok;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return Transport::resolve;
    case CURLE_COULDNT_CONNECT:
        return Transport::connect;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
        return Transport::untrusted;
    case CURLE_OPERATION_TIMEDOUT:
        return Transport::stalled;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return Transport::bad_url;
    case CURLE_WEIRD_SERVER_REPLY:
        return Transport::bad_reply;
    default:
        return Transport::broken;
    }
}

template <typename T>
void set(CURL* easy, CURLoption option, T value) {
    CURLcode code = curl_easy_setopt(easy, option, value);
    if (code != CURLE_OK)
        throw Error(ErrorKind::internal, "libcurl option " + std::to_string(int(option)) + ": " +
                                             curl_easy_strerror(code));
}

std::size_t on_header(char* data, std::size_t size, std::size_t count, void* user) noexcept {
    auto& t = *static_cast<HttpTransfer*>(user);
    std::size_t length = size * count;
    std::string_view line(data, length);
    if (t.head_complete)
        return length;
    if (line.starts_with("HTTP/")) { // also after 100 Continue: start over
        t.head.headers.clear();
        std::size_t space = line.find(' ');
        t.head.status = space == std::string_view::npos ? 0 : std::atoi(data + space);
        return length;
    }
    if (trim(line).empty()) {
        if (t.head.status >= 200) {
            t.head_complete = true;
            std::lock_guard lock(t.mutex);
            t.head_ready = true;
            t.changed.notify_one();
        }
        return length;
    }
    std::size_t colon = line.find(':');
    if (colon != std::string_view::npos)
        t.head.headers[ascii_lower(trim(line.substr(0, colon)))] = trim(line.substr(colon + 1));
    return length;
}

std::size_t on_receive(char* data, std::size_t size, std::size_t count, void* user) noexcept {
    auto& t = *static_cast<HttpTransfer*>(user);
    std::size_t length = size * count;
    if (t.bucket.grant(length) == 0) {
        t.receive_paused = true;
        t.receive_waits_for_reader = false;
        return CURL_WRITEFUNC_PAUSE;
    }
    std::unique_lock lock(t.mutex);
    if (Sink* sink = t.direct) {
        lock.unlock();
        t.bucket.spend(length);
        try {
            sink->write(std::as_bytes(std::span(data, length)));
            return length;
        } catch (...) {
            t.body_failure = std::current_exception();
            return CURL_WRITEFUNC_ERROR;
        }
    }
    if (!t.pending.empty() && t.pending.size() + length > kReceiveBuffer) {
        t.receive_paused = t.receive_waits_for_reader = t.reader_wanted = true;
        t.changed.notify_one();
        return CURL_WRITEFUNC_PAUSE;
    }
    t.bucket.spend(length);
    t.pending.append(data, length);
    t.changed.notify_one();
    return length;
}

std::size_t on_send(char* buffer, std::size_t size, std::size_t count, void* user) noexcept {
    auto& t = *static_cast<HttpTransfer*>(user);
    try {
        std::uint64_t left = t.request.body->size() - t.body_offset;
        std::size_t length = static_cast<std::size_t>(std::min<std::uint64_t>(size * count, left));
        if (length == 0)
            return 0;
        length = t.bucket.grant(length);
        if (length == 0) {
            t.send_paused = true;
            return CURL_READFUNC_PAUSE;
        }
        t.bucket.spend(length);
        t.request.body->read(t.body_offset, std::as_writable_bytes(std::span(buffer, length)));
        t.body_offset += length;
        std::lock_guard lock(t.mutex);
        t.sent = t.body_offset;
        t.changed.notify_one();
        return length;
    } catch (...) {
        t.body_failure = std::current_exception();
        return CURL_READFUNC_ABORT;
    }
}

int on_seek(void* user, curl_off_t offset, int origin) noexcept {
    auto& t = *static_cast<HttpTransfer*>(user);
    if (origin != SEEK_SET || offset < 0)
        return CURL_SEEKFUNC_FAIL;
    t.body_offset = static_cast<std::uint64_t>(offset);
    std::lock_guard lock(t.mutex);
    t.sent = t.body_offset;
    return CURL_SEEKFUNC_OK;
}

HeaderSlist make_header_list(const HeaderList& headers) {
    HeaderSlist out;
    auto append = [&](const std::string& line) {
        curl_slist* grown = curl_slist_append(out.get(), line.c_str());
        if (!grown)
            throw std::bad_alloc();
        (void)out.release();
        out.reset(grown);
    };
    append("Expect:"); // no 100-continue round trip: libcurl waits up to a second for it
    append("Accept:");
    for (const auto& [name, value] : headers) {
        if (name.find_first_of("\r\n:") != std::string::npos ||
            value.find_first_of("\r\n") != std::string::npos)
            throw Error(ErrorKind::internal, "header " + name + " holds a line break");
        append(value.empty() ? name + ';' : name + ": " + value); // `;` = send it empty
    }
    return out;
}

} // namespace

HttpTransfer::HttpTransfer(const HttpRequest& request_, const HttpClient::Options& options,
                           TokenBucket& bucket_)
    : request(request_), bucket(bucket_) {
    const HttpRequest& r = request;
    easy.reset(curl_easy_init());
    if (!easy)
        throw std::bad_alloc();
    CURL* e = easy.get();
    set(e, CURLOPT_URL, r.url.c_str());
    set(e, CURLOPT_PATH_AS_IS, 1L);
    set(e, CURLOPT_PROTOCOLS_STR, "http,https");
    set(e, CURLOPT_HTTP_VERSION, long(CURL_HTTP_VERSION_1_1)); // HTTP/2 uploads spin before 8.0
    set(e, CURLOPT_FOLLOWLOCATION, 0L);                        // a redirect needs a new signature
    set(e, CURLOPT_NOSIGNAL, 1L);
    set(e, CURLOPT_QUICK_EXIT, 1L); // a cancelled look-up does not hold up the loop
    set(e, CURLOPT_USERAGENT, "zl/" ZL_VERSION);
    set(e, CURLOPT_ERRORBUFFER, error_text.data());
    set(e, CURLOPT_BUFFERSIZE, 512L * 1024);
    set(e, CURLOPT_UPLOAD_BUFFERSIZE, 256L * 1024);
    set(e, CURLOPT_MAXAGE_CONN, 4L); // S3 closes idle connections after about 5 s
    set(e, CURLOPT_FRESH_CONNECT, r.fresh_connection ? 1L : 0L);
    set(e, CURLOPT_TCP_KEEPALIVE, 1L);
    Millis connect = r.connect_timeout.count() ? r.connect_timeout : options.connect_timeout;
    set(e, CURLOPT_CONNECTTIMEOUT_MS, long(connect.count()));
    // Under --bwlimit each transfer may rightly be slower than the limit for a stall.
    long slowest = kStallBytesPerSecond;
    if (options.bwlimit)
        slowest = std::clamp(
            static_cast<long>(options.bwlimit / 4 / static_cast<unsigned>(options.connections)), 1L,
            kStallBytesPerSecond);
    set(e, CURLOPT_LOW_SPEED_LIMIT, slowest);
    // libcurl's speed is an average over 5 s, so that it notices a stop that much later.
    long stall_seconds = long(r.stall_time.count() / 1000);
    set(e, CURLOPT_LOW_SPEED_TIME,
        std::max(1L, stall_seconds >= 10 ? stall_seconds - 5 : stall_seconds));
    if (!options.ca_file.empty())
        set(e, CURLOPT_CAINFO, options.ca_file.c_str());
    if (r.bypass_proxy)
        set(e, CURLOPT_NOPROXY, "*");
    set(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    header_list = make_header_list(r.headers);
    set(e, CURLOPT_HTTPHEADER, header_list.get());
    set(e, CURLOPT_HEADERFUNCTION, &on_header);
    set(e, CURLOPT_HEADERDATA, this);
    set(e, CURLOPT_WRITEFUNCTION, &on_receive);
    set(e, CURLOPT_WRITEDATA, this);
    set(e, CURLOPT_PRIVATE, this);
    if (r.body) {
        set(e, CURLOPT_UPLOAD, 1L);
        set(e, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(r.body->size()));
        set(e, CURLOPT_READFUNCTION, &on_send);
        set(e, CURLOPT_READDATA, this);
        set(e, CURLOPT_SEEKFUNCTION, &on_seek);
        set(e, CURLOPT_SEEKDATA, this);
    }
    if (r.method == "HEAD")
        set(e, CURLOPT_NOBODY, 1L);
    else if (r.method != (r.body ? "PUT" : "GET"))
        set(e, CURLOPT_CUSTOMREQUEST, r.method.c_str());
}

Transport transport_of(CURLcode code, const HttpTransfer& t) {
    curl_off_t connected_us = 0;
    curl_easy_getinfo(t.easy.get(), CURLINFO_PRETRANSFER_TIME_T, &connected_us);
    if ((code == CURLE_OPERATION_TIMEDOUT || code == CURLE_SSL_CONNECT_ERROR) && connected_us == 0)
        return Transport::connect;
    // libcurl calls a reply without a status line HTTP/0.9.
    if (code == CURLE_UNSUPPORTED_PROTOCOL && connected_us != 0)
        return Transport::bad_reply;
    return named(code);
}

} // namespace zl
