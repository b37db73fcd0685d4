#include "store/http_client.hpp"

#include "store/http_transfer.hpp"

#include <algorithm>
#include <thread>
#include <utility>

namespace zl {

namespace {

using Clock = std::chrono::steady_clock;
using Multi = Handle<CURLM, curl_multi_cleanup>;
using TransferPtr = std::shared_ptr<HttpTransfer>;

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
    /// Hands head, body and progress to the caller until the transfer is done.
    void pump(const TransferPtr& t, HttpResponse& response);

    // Loop thread
    void run();
    bool take_commands(); ///< false = quit
    void add(const TransferPtr& t);
    void unpause(HttpTransfer& t);
    void unpause_limited();
    void collect_finished();
    enum class Ending { normal, interrupted, deadline };
    void finish(HttpTransfer& t, CURLcode code, Ending ending = Ending::normal);
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

HttpResponse HttpClient::Loop::perform(const HttpRequest& request) {
    if (options_.stop.stop_requested())
        throw Interrupted();
    auto t = std::make_shared<HttpTransfer>(request, options_, bucket_);
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
void HttpClient::Loop::unpause(HttpTransfer& t) {
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
        finish(*reinterpret_cast<HttpTransfer*>(owner), code);
    }
}

void HttpClient::Loop::finish(HttpTransfer& t, CURLcode code, Ending ending) {
    auto it = std::find_if(active_.begin(), active_.end(),
                           [&](const TransferPtr& p) { return p.get() == &t; });
    TransferPtr keep = *it;
    active_.erase(it);
    t.active = false;
    t.head.transport = transport_of(code, t);
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
