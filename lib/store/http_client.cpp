#include "store/http_client.hpp"

#include "base/handle.hpp"
#include "store/token_bucket.hpp"

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace zl {

namespace {

using Clock = std::chrono::steady_clock;
using Easy = Handle<CURL, curl_easy_cleanup>;
using Multi = Handle<CURLM, curl_multi_cleanup>;
using HeaderSlist = Handle<curl_slist, curl_slist_free_all>;

/// What one transfer holds for a reader that is slower than the network, twice (one buffer being
/// filled, one being written).
constexpr std::size_t kReceiveBuffer = 1 << 20;
constexpr long kStallBytesPerSecond = 1024;

Transport transport_of(CURLcode code) {
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

/// One request on its way; shared by the calling thread and the loop thread.
struct Transfer {
    explicit Transfer(const HttpRequest& r) : request(r) {}
    const HttpRequest& request; ///< lives in perform() until done

    // Loop thread only, once submitted
    Easy easy;
    HeaderSlist header_list;
    std::array<char, CURL_ERROR_SIZE> error_text{};
    TokenBucket* bucket = nullptr;
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

using TransferPtr = std::shared_ptr<Transfer>;

std::size_t on_header(char* data, std::size_t size, std::size_t count, void* user) noexcept {
    auto& t = *static_cast<Transfer*>(user);
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
    auto& t = *static_cast<Transfer*>(user);
    std::size_t length = size * count;
    if (t.bucket->grant(length) == 0) {
        t.receive_paused = true;
        t.receive_waits_for_reader = false;
        return CURL_WRITEFUNC_PAUSE;
    }
    std::unique_lock lock(t.mutex);
    if (Sink* sink = t.direct) {
        lock.unlock();
        t.bucket->spend(length);
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
    t.bucket->spend(length);
    t.pending.append(data, length);
    t.changed.notify_one();
    return length;
}

std::size_t on_send(char* buffer, std::size_t size, std::size_t count, void* user) noexcept {
    auto& t = *static_cast<Transfer*>(user);
    try {
        std::uint64_t left = t.request.body->size() - t.body_offset;
        std::size_t length = static_cast<std::size_t>(std::min<std::uint64_t>(size * count, left));
        if (length == 0)
            return 0;
        length = t.bucket->grant(length);
        if (length == 0) {
            t.send_paused = true;
            return CURL_READFUNC_PAUSE;
        }
        t.bucket->spend(length);
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
    auto& t = *static_cast<Transfer*>(user);
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

const std::string* HttpResponse::header(const std::string& name) const {
    auto it = headers.find(name);
    return it == headers.end() ? nullptr : &it->second;
}

class HttpClient::Loop {
public:
    explicit Loop(Options options) : options_(std::move(options)), bucket_(options_.bwlimit) {
        static const CURLcode global = curl_global_init(CURL_GLOBAL_DEFAULT);
        if (global == CURLE_OK)
            multi_.reset(curl_multi_init());
        if (!multi_)
            throw Error(ErrorKind::internal, "libcurl cannot be initialised");
        curl_multi_setopt(multi_.get(), CURLMOPT_MAXCONNECTS, long(options_.connections));
        curl_multi_setopt(multi_.get(), CURLMOPT_MAX_TOTAL_CONNECTIONS, long(options_.connections));
        curl_multi_setopt(multi_.get(), CURLMOPT_PIPELINING, long(CURLPIPE_NOTHING));
        thread_ = std::thread([this] { run(); });
        on_stop_.emplace(options_.stop, [this] { wake(); });
    }
    ~Loop() {
        on_stop_.reset();
        {
            std::lock_guard lock(mutex_);
            quit_ = true;
        }
        wake();
        thread_.join();
    }
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;

    HttpResponse perform(const HttpRequest& request);

private:
    enum class Action { add, resume, cancel };

    void command(Action action, const TransferPtr& t) {
        {
            std::lock_guard lock(mutex_);
            commands_.emplace_back(action, t);
        }
        wake();
    }
    void wake() { curl_multi_wakeup(multi_.get()); }

    // Calling thread
    void configure(Transfer& t) const;
    /// Hands head, body and progress to the caller until the transfer is done.
    void pump(const TransferPtr& t, HttpResponse& response);

    // Loop thread
    void run();
    bool take_commands(); ///< false = quit
    void add(const TransferPtr& t);
    void unpause(Transfer& t);
    void unpause_limited();
    void collect_finished();
    enum class Ending { normal, interrupted, deadline };
    void finish(Transfer& t, CURLcode code, Ending ending = Ending::normal);
    void finish_all(Ending ending);
    int poll_timeout();

    Options options_;
    TokenBucket bucket_;
    Multi multi_;
    std::vector<TransferPtr> active_;

    std::mutex mutex_;
    std::vector<std::pair<Action, TransferPtr>> commands_;
    bool quit_ = false;

    std::thread thread_;
    std::optional<std::stop_callback<std::function<void()>>> on_stop_;
};

void HttpClient::Loop::configure(Transfer& t) const {
    const HttpRequest& r = t.request;
    t.easy.reset(curl_easy_init());
    if (!t.easy)
        throw std::bad_alloc();
    CURL* e = t.easy.get();
    set(e, CURLOPT_URL, r.url.c_str());
    set(e, CURLOPT_PATH_AS_IS, 1L);
    set(e, CURLOPT_PROTOCOLS_STR, "http,https");
    set(e, CURLOPT_HTTP_VERSION, long(CURL_HTTP_VERSION_1_1)); // HTTP/2 uploads spin before 8.0
    set(e, CURLOPT_FOLLOWLOCATION, 0L);                        // a redirect needs a new signature
    set(e, CURLOPT_NOSIGNAL, 1L);
    set(e, CURLOPT_QUICK_EXIT, 1L); // a cancelled look-up does not hold up the loop
    set(e, CURLOPT_USERAGENT, "zl/" ZL_VERSION);
    set(e, CURLOPT_ERRORBUFFER, t.error_text.data());
    set(e, CURLOPT_BUFFERSIZE, 512L * 1024);
    set(e, CURLOPT_UPLOAD_BUFFERSIZE, 256L * 1024);
    set(e, CURLOPT_MAXAGE_CONN, 4L); // S3 closes idle connections after about 5 s
    set(e, CURLOPT_FRESH_CONNECT, r.fresh_connection ? 1L : 0L);
    set(e, CURLOPT_TCP_KEEPALIVE, 1L);
    Millis connect = r.connect_timeout.count() ? r.connect_timeout : options_.connect_timeout;
    set(e, CURLOPT_CONNECTTIMEOUT_MS, long(connect.count()));
    // Under --bwlimit each transfer may rightly be slower than the limit for a stall.
    long slowest = kStallBytesPerSecond;
    if (options_.bwlimit)
        slowest = std::clamp(
            static_cast<long>(options_.bwlimit / 4 / static_cast<unsigned>(options_.connections)),
            1L, kStallBytesPerSecond);
    set(e, CURLOPT_LOW_SPEED_LIMIT, slowest);
    // libcurl's speed is an average over 5 s, so that it notices a stop that much later.
    long stall_seconds = long(r.stall_time.count() / 1000);
    set(e, CURLOPT_LOW_SPEED_TIME,
        std::max(1L, stall_seconds >= 10 ? stall_seconds - 5 : stall_seconds));
    if (!options_.ca_file.empty())
        set(e, CURLOPT_CAINFO, options_.ca_file.c_str());
    if (r.bypass_proxy)
        set(e, CURLOPT_NOPROXY, "*");
    set(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    t.header_list = make_header_list(r.headers);
    set(e, CURLOPT_HTTPHEADER, t.header_list.get());
    set(e, CURLOPT_HEADERFUNCTION, &on_header);
    set(e, CURLOPT_HEADERDATA, &t);
    set(e, CURLOPT_WRITEFUNCTION, &on_receive);
    set(e, CURLOPT_WRITEDATA, &t);
    set(e, CURLOPT_PRIVATE, &t);
    if (r.body) {
        set(e, CURLOPT_UPLOAD, 1L);
        set(e, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(r.body->size()));
        set(e, CURLOPT_READFUNCTION, &on_send);
        set(e, CURLOPT_READDATA, &t);
        set(e, CURLOPT_SEEKFUNCTION, &on_seek);
        set(e, CURLOPT_SEEKDATA, &t);
    }
    if (r.method == "HEAD")
        set(e, CURLOPT_NOBODY, 1L);
    else if (r.method != (r.body ? "PUT" : "GET"))
        set(e, CURLOPT_CUSTOMREQUEST, r.method.c_str());
}

HttpResponse HttpClient::Loop::perform(const HttpRequest& request) {
    if (options_.stop.stop_requested())
        throw Interrupted();
    auto t = std::make_shared<Transfer>(request);
    t->bucket = &bucket_;
    configure(*t);
    auto began = Clock::now();
    command(Action::add, t);
    HttpResponse response;
    try {
        pump(t, response);
    } catch (...) {
        // The loop must be done with the caller's body and buffers before they go away.
        command(Action::cancel, t);
        std::unique_lock lock(t->mutex);
        t->changed.wait(lock, [&] { return t->done; });
        throw;
    }
    if (t->interrupted)
        throw Interrupted();
    if (t->body_failure)
        std::rethrow_exception(t->body_failure);
    response.transport = t->head.transport;
    response.transport_error = t->head.transport_error;
    response.status = t->head.status;
    response.headers = std::move(t->head.headers);
    response.duration = std::chrono::duration_cast<Millis>(Clock::now() - began);
    return response;
}

void HttpClient::Loop::pump(const TransferPtr& t, HttpResponse& response) {
    Sink* sink = nullptr;
    bool head_seen = false;
    std::uint64_t reported = 0;
    std::string chunk;
    for (;;) {
        bool done, resume;
        std::uint64_t sent;
        {
            std::unique_lock lock(t->mutex);
            if (t->pending.empty()) // and what was is written: the order is kept
                t->direct = sink && sink->prompt() ? sink : nullptr;
            t->changed.wait(lock, [&] {
                return t->done || !t->pending.empty() || t->sent != reported ||
                       (t->head_ready && !head_seen);
            });
            chunk.clear();
            chunk.swap(t->pending);
            done = t->done;
            resume = std::exchange(t->reader_wanted, false);
            sent = t->sent;
            if (t->interrupted)
                return;
            if (t->head_ready && !head_seen) {
                response.status = t->head.status;
                response.headers = t->head.headers;
            }
        }
        if (resume && !done)
            command(Action::resume, t);
        if (sent != reported && t->request.on_sent)
            t->request.on_sent(static_cast<std::int64_t>(sent) -
                               static_cast<std::int64_t>(reported));
        reported = sent;
        if (response.status && !head_seen) {
            head_seen = true;
            if (t->request.choose_sink)
                sink = t->request.choose_sink(response);
        }
        if (sink && !chunk.empty())
            sink->write(std::as_bytes(std::span<const char>(chunk)));
        else
            response.body += chunk;
        if (response.body.size() > t->request.max_body)
            throw Error(ErrorKind::data,
                        "reply larger than " + std::to_string(t->request.max_body) + " bytes");
        if (done)
            return;
    }
}

void HttpClient::Loop::run() {
    while (take_commands()) {
        if (options_.stop.stop_requested())
            finish_all(Ending::interrupted);
        else if (options_.deadline && Clock::now() >= *options_.deadline)
            finish_all(Ending::deadline);
        unpause_limited();
        int running = 0;
        curl_multi_perform(multi_.get(), &running);
        collect_finished();
        curl_multi_poll(multi_.get(), nullptr, 0, poll_timeout(), nullptr);
    }
    finish_all(Ending::interrupted);
}

bool HttpClient::Loop::take_commands() {
    std::vector<std::pair<Action, TransferPtr>> commands;
    {
        std::lock_guard lock(mutex_);
        if (quit_)
            return false;
        commands.swap(commands_);
    }
    for (auto& [action, t] : commands) {
        if (action == Action::add)
            add(t);
        else if (!t->active)
            continue; // finished meanwhile
        else if (action == Action::cancel)
            finish(*t, CURLE_ABORTED_BY_CALLBACK);
        else if (t->receive_paused && t->receive_waits_for_reader) {
            t->receive_paused = t->receive_waits_for_reader = false;
            unpause(*t);
        }
    }
    return true;
}

void HttpClient::Loop::add(const TransferPtr& t) {
    t->active = true;
    active_.push_back(t);
    if (curl_multi_add_handle(multi_.get(), t->easy.get()) != CURLM_OK)
        finish(*t, CURLE_FAILED_INIT);
}

/// Make libcurl's idea of what is paused equal to ours.
void HttpClient::Loop::unpause(Transfer& t) {
    int mask = (t.receive_paused ? CURLPAUSE_RECV : 0) | (t.send_paused ? CURLPAUSE_SEND : 0);
    curl_easy_pause(t.easy.get(), mask);
}

void HttpClient::Loop::unpause_limited() {
    if (!bucket_.limited() || active_.empty())
        return;
    // Another one goes first each time, so that none starves.
    std::rotate(active_.begin(), active_.begin() + 1, active_.end());
    for (const TransferPtr& t : active_) {
        if (bucket_.grant(1) == 0)
            return;
        bool receive = t->receive_paused && !t->receive_waits_for_reader;
        if (!receive && !t->send_paused)
            continue;
        if (receive)
            t->receive_paused = false;
        t->send_paused = false;
        unpause(*t);
    }
}

void HttpClient::Loop::collect_finished() {
    int left = 0;
    while (CURLMsg* message = curl_multi_info_read(multi_.get(), &left)) {
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode code = message->data.result; // the message dies with the handle
        char* owner = nullptr;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &owner);
        finish(*reinterpret_cast<Transfer*>(owner), code);
    }
}

void HttpClient::Loop::finish(Transfer& t, CURLcode code, Ending ending) {
    auto it = std::find_if(active_.begin(), active_.end(),
                           [&](const TransferPtr& p) { return p.get() == &t; });
    TransferPtr keep = *it;
    active_.erase(it);
    t.active = false;
    t.head.transport = transport_of(code);
    curl_off_t connected_us = 0;
    curl_easy_getinfo(t.easy.get(), CURLINFO_PRETRANSFER_TIME_T, &connected_us);
    if ((code == CURLE_OPERATION_TIMEDOUT || code == CURLE_SSL_CONNECT_ERROR) && connected_us == 0)
        t.head.transport = Transport::connect;
    // libcurl calls a reply without a status line HTTP/0.9.
    if (code == CURLE_UNSUPPORTED_PROTOCOL && connected_us != 0)
        t.head.transport = Transport::bad_reply;
    if (code != CURLE_OK)
        t.head.transport_error =
            t.error_text[0] ? std::string(t.error_text.data()) : curl_easy_strerror(code);
    if (ending == Ending::deadline) {
        t.head.transport = Transport::deadline;
        t.head.transport_error = "the time limit of the run was reached";
    }
    curl_multi_remove_handle(multi_.get(), t.easy.get());
    t.easy.reset();
    std::lock_guard lock(t.mutex);
    t.interrupted = ending == Ending::interrupted;
    t.done = true;
    t.changed.notify_one();
}

void HttpClient::Loop::finish_all(Ending ending) {
    while (!active_.empty())
        finish(*active_.back(), CURLE_ABORTED_BY_CALLBACK, ending);
}

int HttpClient::Loop::poll_timeout() {
    Millis wait(1000);
    if (bucket_.limited())
        for (const TransferPtr& t : active_)
            if (t->send_paused || (t->receive_paused && !t->receive_waits_for_reader))
                wait = std::min(wait, bucket_.wait());
    if (options_.deadline && !active_.empty())
        wait = std::clamp(std::chrono::duration_cast<Millis>(*options_.deadline - Clock::now()) +
                              Millis(1),
                          Millis(0), wait);
    return static_cast<int>(wait.count());
}

HttpClient::HttpClient(Options options) : loop_(std::make_unique<Loop>(std::move(options))) {}
HttpClient::~HttpClient() = default;
HttpResponse HttpClient::perform(const HttpRequest& request) {
    return loop_->perform(request);
}

} // namespace zl
