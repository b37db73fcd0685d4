#include "store/s3_download.hpp"

#include "store/s3_xml.hpp"

#include <charconv>

namespace zl {

namespace {

std::optional<std::uint64_t> to_number(std::string_view text) {
    std::uint64_t out = 0;
    auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (text.empty() || problem != std::errc() || end != text.data() + text.size())
        return std::nullopt;
    return out;
}

/// `bytes 5-9/20`, or `bytes */20` of a 416.
struct ContentRange {
    std::uint64_t first = 0, last = 0, total = 0;
};
std::optional<ContentRange> parse_content_range(std::string_view text) {
    if (!text.starts_with("bytes "))
        return std::nullopt;
    text.remove_prefix(6);
    std::size_t slash = text.find('/');
    if (slash == std::string_view::npos)
        return std::nullopt;
    std::string_view span = text.substr(0, slash);
    auto total = to_number(text.substr(slash + 1));
    if (!total)
        return std::nullopt;
    if (span == "*")
        return ContentRange{0, 0, *total};
    std::size_t dash = span.find('-');
    if (dash == std::string_view::npos)
        return std::nullopt;
    auto first = to_number(span.substr(0, dash)), last = to_number(span.substr(dash + 1));
    if (!first || !last || *first > *last || *last >= *total)
        return std::nullopt;
    return ContentRange{*first, *last, *total};
}

} // namespace

std::string quoted_etag(const std::string& etag) {
    return '"' + etag + '"';
}

ObjectInfo s3_object_info(const std::string& key, const HttpResponse& response) {
    ObjectInfo info;
    info.key = key;
    if (const std::string* etag = response.header("etag"))
        info.etag = strip_etag(*etag);
    if (const std::string* text = response.header("last-modified"))
        info.last_modified = parse_http_date(*text).value_or(TimePoint{});
    for (const auto& [name, value] : response.headers)
        if (name.starts_with(kS3MetaPrefix))
            info.meta[name.substr(kS3MetaPrefix.size())] = value;
    return info;
}

std::optional<std::uint64_t> s3_object_size(const HttpResponse& response) {
    const std::string* range = response.header("content-range");
    if (response.status == 206 || response.status == 416) {
        auto parsed = range ? parse_content_range(*range) : std::nullopt;
        return parsed ? std::optional(parsed->total) : std::nullopt;
    }
    const std::string* length = response.header("content-length");
    return length ? to_number(*length) : std::nullopt;
}

S3Download::S3Download(std::string what, const std::string& key, Sink& sink,
                       const GetOptions& options)
    : what_(std::move(what)), key_(key), sink_(sink), options_(options), etag_(options.if_match) {
    if (options.range)
        end_ = options.range->offset + options.range->length;
}

HeaderList S3Download::headers() const {
    HeaderList out;
    if (options_.range)
        out.emplace_back("range",
                         "bytes=" + std::to_string(position()) + '-' + std::to_string(*end_ - 1));
    else if (received_)
        out.emplace_back("range", "bytes=" + std::to_string(received_) + '-');
    if (!etag_.empty())
        out.emplace_back("if-match", quoted_etag(etag_));
    return out;
}

Sink* S3Download::accept(const HttpResponse& head) {
    auto total = s3_object_size(head);
    if (!total)
        throw bad("reply without a valid length");
    const std::string* range = head.header("content-range");
    auto parsed = range && head.status == 206 ? parse_content_range(*range) : std::nullopt;
    std::uint64_t first = parsed ? parsed->first : 0;
    std::uint64_t last = parsed ? parsed->last + 1 : *total;
    if (first != position())
        throw bad("reply starts at byte " + std::to_string(first) + ", expected " +
                  std::to_string(position()));
    if (info_ && info_->size != *total)
        throw bad("size " + std::to_string(*total) + ", was " + std::to_string(info_->size));
    if (options_.range && *total < *end_)
        throw bad("object has " + std::to_string(*total) + " bytes, wanted up to " +
                  std::to_string(*end_));
    if (!options_.range)
        end_ = *total;
    if (last != *end_)
        throw bad("reply ends at byte " + std::to_string(last) + ", expected " +
                  std::to_string(*end_));
    if (!info_) {
        info_ = s3_object_info(key_, head);
        info_->size = *total;
        etag_ = info_->etag; // an attempt that follows must see the same object
    }
    return &counter_;
}

Error S3Download::bad(const std::string& why) const {
    return Error(ErrorKind::data, what_ + ": " + why);
}

void S3Download::take(Bytes data) {
    if (position() + data.size() > *end_)
        throw bad("more bytes than announced");
    sink_.write(data);
    received_ += data.size();
    if (options_.on_bytes)
        options_.on_bytes(static_cast<std::int64_t>(data.size()));
}

} // namespace zl
