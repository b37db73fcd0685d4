/// A FAKE S3 server for benchmarks only: takes any upload and throws it away, and serves one local file
/// as every object. It checks no signature and keeps nothing, so what is measured is the client.
///
///   s3sink PORT [FILE KEY]
///
/// Understands PUT, multipart (create, part, complete, list), HEAD, GET with Range; a listing shows what
/// was put, and always KEY (rclone lists before it reads). GET and HEAD of keys that end in .tar.zst or .bin give FILE, others 404.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace {

int file_fd = -1;
off_t file_size = 0;
std::string listed_key;

/// Of what was thrown away only this is kept, for the HEAD after an upload.
struct Object {
    unsigned long long size = 0;
    std::string meta;
};
std::mutex mutex;
std::map<std::string, Object> objects;

struct Request {
    std::string method, target, meta;
    unsigned long long length = 0;
    bool expects = false;
    bool has_range = false;
    off_t from = 0, to = 0;
};

std::string lower(std::string s) {
    std::transform(s.begin(), s.end(), s.begin(), ::tolower);
    return s;
}

class Connection {
public:
    explicit Connection(int fd) : fd_(fd), buffer_(1 << 20) {}
    ~Connection() { ::close(fd_); }

    void serve() {
        Request r;
        while (read_head(r)) {
            if (r.expects)
                send("HTTP/1.1 100 Continue\r\n\r\n");
            if (!discard(r.length))
                return;
            answer(r);
            r = Request();
        }
    }

private:
    bool fill() {
        ssize_t n = ::recv(fd_, buffer_.data(), buffer_.size(), 0);
        if (n <= 0)
            return false;
        pending_.append(buffer_.data(), static_cast<std::size_t>(n));
        return true;
    }
    bool read_head(Request& r) {
        std::size_t end;
        while ((end = pending_.find("\r\n\r\n")) == std::string::npos)
            if (!fill())
                return false;
        std::string head = pending_.substr(0, end + 2);
        pending_.erase(0, end + 4);
        std::size_t a = head.find(' '), b = head.find(' ', a + 1);
        r.method = head.substr(0, a);
        r.target = head.substr(a + 1, b - a - 1);
        std::string low = lower(head);
        if (auto at = low.find("\r\ncontent-length:"); at != std::string::npos)
            r.length = std::strtoull(low.c_str() + at + 17, nullptr, 10);
        for (std::size_t at = 0; (at = low.find("\r\nx-amz-meta-", at)) != std::string::npos; at += 2)
            r.meta += head.substr(at + 2, head.find("\r\n", at + 2) - at);
        r.expects = low.find("100-continue") != std::string::npos;
        if (auto at = low.find("\r\nrange: bytes="); at != std::string::npos) {
            long long from = 0, to = file_size - 1;
            std::sscanf(low.c_str() + at + 15, "%lld-%lld", &from, &to);
            r.has_range = true;
            r.from = from;
            r.to = std::min<long long>(to, file_size - 1);
        }
        return true;
    }
    bool discard(unsigned long long n) {
        std::size_t had = static_cast<std::size_t>(std::min<unsigned long long>(n, pending_.size()));
        pending_.erase(0, had);
        n -= had;
        while (n) {
            ssize_t got = ::recv(fd_, buffer_.data(),
                                 static_cast<std::size_t>(std::min<unsigned long long>(n, buffer_.size())), 0);
            if (got <= 0)
                return false;
            n -= static_cast<unsigned long long>(got);
        }
        return true;
    }
    void send(const std::string& s) { (void)!::send(fd_, s.data(), s.size(), MSG_NOSIGNAL); }
    void reply(int status, const std::string& body, const std::string& headers = {}) {
        send("HTTP/1.1 " + std::to_string(status) + " X\r\nContent-Length: " + std::to_string(body.size()) +
             "\r\n" + headers + "\r\n" + body);
    }
    void answer(const Request& r) {
        const std::string etag = "ETag: \"sink-1\"\r\n";
        bool uploads = r.target.find("uploads") != std::string::npos;
        bool upload = r.target.find("uploadId=") != std::string::npos;
        std::string path = r.target.substr(0, r.target.find('?'));
        if (r.method == "PUT" || (r.method == "POST" && uploads)) {
            std::lock_guard lock(mutex);
            Object& o = objects[path];
            if (!upload)
                o = {0, r.meta};
            o.size += r.length;
        }
        if (r.method == "PUT")
            return reply(200, "", etag);
        if (r.method == "POST" && uploads)
            return reply(200, "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>u1</UploadId>"
                              "</InitiateMultipartUploadResult>");
        if (r.method == "POST" && upload)
            return reply(200, "<CompleteMultipartUploadResult><ETag>\"x-2\"</ETag></CompleteMultipartUploadResult>");
        if (r.method == "GET" && upload)
            return reply(200, "<ListPartsResult><IsTruncated>false</IsTruncated></ListPartsResult>");
        if (auto at = r.target.find("prefix="); r.method == "GET" && at != std::string::npos)
            return reply(200, listing(path, unescaped(r.target.substr(at + 7, r.target.find('&', at) - at - 7))));
        if (r.method == "HEAD") {
            std::lock_guard lock(mutex);
            if (auto it = objects.find(path); it != objects.end())
                return send("HTTP/1.1 200 OK\r\n" + etag + it->second.meta + "Last-Modified: Sun, 22 Nov 2026 06:00:00 "
                            "GMT\r\nContent-Length: " + std::to_string(it->second.size) + "\r\n\r\n");
        }
        bool object = file_fd >= 0 && (path.ends_with(".tar.zst") || path.ends_with(".bin"));
        if (!object)
            return reply(404, r.method == "HEAD" ? "" : "<Error><Code>NoSuchKey</Code></Error>");
        off_t from = r.has_range ? r.from : 0, to = r.has_range ? r.to : file_size - 1;
        std::string head = "HTTP/1.1 " + std::string(r.has_range ? "206" : "200") + " OK\r\n" + etag +
                           "Last-Modified: Sun, 22 Nov 2026 06:00:00 GMT\r\nAccept-Ranges: bytes\r\nContent-Length: " +
                           std::to_string(to - from + 1) + "\r\n";
        if (r.has_range)
            head += "Content-Range: bytes " + std::to_string(from) + "-" + std::to_string(to) + "/" +
                    std::to_string(file_size) + "\r\n";
        send(head + "\r\n");
        if (r.method == "HEAD")
            return;
        while (from <= to)
            if (::sendfile(fd_, file_fd, &from, static_cast<std::size_t>(to - from + 1)) <= 0)
                return;
    }

    static std::string unescaped(const std::string& s) {
        std::string out;
        for (std::size_t i = 0; i < s.size(); ++i) {
            if (s[i] != '%' || i + 2 >= s.size()) {
                out += s[i];
                continue;
            }
            out += static_cast<char>(std::strtol(s.substr(i + 1, 2).c_str(), nullptr, 16));
            i += 2;
        }
        return out;
    }
    static std::string row(const std::string& key, unsigned long long size) {
        return "<Contents><Key>" + key + "</Key><LastModified>2026-11-22T06:00:00.000Z</LastModified><ETag>&quot;sink-1&quot;"
               "</ETag><Size>" + std::to_string(size) + "</Size></Contents>";
    }
    static std::string listing(const std::string& bucket, const std::string& prefix) {
        std::string rows = listed_key.empty() ? "" : row(listed_key, static_cast<unsigned long long>(file_size));
        const std::string root = bucket.ends_with("/") ? bucket : bucket + "/";
        std::lock_guard lock(mutex);
        for (const auto& [path, object] : objects)
            if (path.starts_with(root + prefix))
                rows += row(path.substr(root.size()), object.size);
        return "<ListBucketResult><IsTruncated>false</IsTruncated>" + rows + "</ListBucketResult>";
    }

    int fd_;
    std::vector<char> buffer_;
    std::string pending_;
};

} // namespace

int main(int argc, char** argv) {
    ::signal(SIGPIPE, SIG_IGN);
    if (argc < 2)
        return 64;
    if (argc > 2) {
        file_fd = ::open(argv[2], O_RDONLY);
        struct stat st;
        if (file_fd < 0 || ::fstat(file_fd, &st) != 0)
            return 66;
        file_size = st.st_size;
        listed_key = argc > 3 ? argv[3] : "";
    }
    int listener = ::socket(AF_INET, SOCK_STREAM, 0), on = 1;
    ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_port = htons(static_cast<std::uint16_t>(std::atoi(argv[1])));
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::bind(listener, reinterpret_cast<sockaddr*>(&a), sizeof a) != 0 || ::listen(listener, 64) != 0)
        return 74;
    std::puts("READY");
    std::fflush(stdout);
    for (;;) {
        int fd = ::accept(listener, nullptr, nullptr);
        if (fd < 0)
            continue;
        ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        std::thread([fd] { Connection(fd).serve(); }).detach();
    }
}
