#include "store/s3_xml.hpp"

#include "store/uri.hpp"

#include <pugixml.hpp>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace zl {

namespace {

Error bad(std::string_view document, const std::string& why) {
    return Error(ErrorKind::data, std::string(document) + ": " + why);
}

/// Element names may carry a namespace prefix.
std::string_view local_name(const pugi::xml_node& node) {
    std::string_view name = node.name();
    std::size_t colon = name.find(':');
    return colon == std::string_view::npos ? name : name.substr(colon + 1);
}

pugi::xml_node child(const pugi::xml_node& node, std::string_view name) {
    return node.find_child([&](const pugi::xml_node& c) { return local_name(c) == name; });
}

std::string text(const pugi::xml_node& node, std::string_view name) {
    return child(node, name).text().get();
}

/// Parse @p xml into @p document; throws unless its root is @p root.
pugi::xml_node load(pugi::xml_document& document, std::string_view xml, std::string_view root) {
    // S3 keeps a slow reply alive with blanks before the declaration, where XML allows none.
    xml = trim(xml);
    // No DOCTYPE: S3 never sends one, and entities are its only use.
    pugi::xml_parse_result result = document.load_buffer(
        xml.data(), xml.size(), pugi::parse_default | pugi::parse_ws_pcdata_single,
        pugi::encoding_utf8);
    if (!result)
        throw bad(root, "not valid XML: " + std::string(result.description()));
    pugi::xml_node node = document.document_element();
    if (local_name(node) != root)
        throw bad(root,
                  "unexpected element \"" + std::string(local_name(node)).substr(0, 64) + '"');
    return node;
}

std::uint64_t number(const pugi::xml_node& node, std::string_view name, std::string_view document) {
    std::string value = text(node, name);
    std::uint64_t out = 0;
    auto [end, problem] = std::from_chars(value.data(), value.data() + value.size(), out);
    if (value.empty() || problem != std::errc() || end != value.data() + value.size())
        throw bad(document,
                  std::string(name) + " \"" + value.substr(0, 64) + "\", expected a number");
    return out;
}

bool truncated(const pugi::xml_node& root, std::string_view document) {
    std::string value = text(root, "IsTruncated");
    if (value != "true" && value != "false")
        throw bad(document, "IsTruncated \"" + value.substr(0, 64) + '"');
    return value == "true";
}

/// Never made up: by its age a thing is deleted.
TimePoint time(const pugi::xml_node& node, std::string_view name, std::string_view document) {
    std::string value = text(node, name);
    try {
        return parse_time(trim(value));
    } catch (const Error&) {
        throw bad(document, std::string(name) + " \"" + value.substr(0, 64) +
                                "\", expected a time such as 2026-11-22T06:00:00.000Z");
    }
}

/// Undoes `encoding-type=url`, if the server says it did it.
class KeyDecoder {
public:
    explicit KeyDecoder(const pugi::xml_node& root) : url_(text(root, "EncodingType") == "url") {}
    std::string operator()(const std::string& value) const {
        return url_ ? percent_decode(value, true) : value;
    }

private:
    bool url_;
};

std::string etag_of(std::string_view xml, std::string_view root) {
    pugi::xml_document document;
    return strip_etag(text(load(document, xml, root), "ETag"));
}

std::string required(const pugi::xml_node& node, std::string_view name, std::string_view document) {
    std::string value = text(node, name);
    if (value.empty())
        throw bad(document, "no " + std::string(name));
    return value;
}

} // namespace

std::optional<S3Error> parse_s3_error(std::string_view xml) {
    pugi::xml_document document;
    try {
        pugi::xml_node root;
        // STS wraps it: <ErrorResponse><Error>..</Error><RequestId/></ErrorResponse>.
        if (xml.find("ErrorResponse") != std::string_view::npos)
            root = child(load(document, xml, "ErrorResponse"), "Error");
        else
            root = load(document, xml, "Error");
        S3Error out;
        out.code = required(root, "Code", "Error");
        out.message = text(root, "Message");
        out.region = text(root, "Region");
        out.endpoint = text(root, "Endpoint");
        out.server_time = text(root, "ServerTime");
        out.request_id = text(root, "RequestId");
        return out;
    } catch (const Error&) {
        return std::nullopt;
    }
}

ListPage parse_list_objects(std::string_view xml) {
    constexpr std::string_view kRoot = "ListBucketResult";
    pugi::xml_document document;
    pugi::xml_node root = load(document, xml, kRoot);
    KeyDecoder decode(root);
    ListPage page;
    for (const pugi::xml_node& node : root.children()) {
        ObjectInfo info;
        if (local_name(node) == "Contents") {
            info.key = decode(required(node, "Key", kRoot));
            info.size = number(node, "Size", kRoot);
            info.etag = strip_etag(text(node, "ETag"));
            info.last_modified = time(node, "LastModified", kRoot);
        } else if (local_name(node) == "CommonPrefixes") {
            info.key = decode(required(node, "Prefix", kRoot));
        } else {
            continue;
        }
        page.objects.push_back(std::move(info));
    }
    std::stable_sort(page.objects.begin(), page.objects.end(),
                     [](const ObjectInfo& a, const ObjectInfo& b) { return a.key < b.key; });
    if (truncated(root, kRoot))
        page.next_token = required(root, "NextContinuationToken", kRoot);
    return page;
}

PartsPage parse_list_parts(std::string_view xml) {
    constexpr std::string_view kRoot = "ListPartsResult";
    pugi::xml_document document;
    pugi::xml_node root = load(document, xml, kRoot);
    PartsPage page;
    for (const pugi::xml_node& node : root.children()) {
        if (local_name(node) != "Part")
            continue;
        PartInfo part;
        std::uint64_t n = number(node, "PartNumber", kRoot);
        if (n < 1 || n > 10000)
            throw bad(kRoot, "PartNumber " + std::to_string(n));
        part.number = static_cast<int>(n);
        part.size = number(node, "Size", kRoot);
        part.etag = strip_etag(required(node, "ETag", kRoot));
        part.last_modified = time(node, "LastModified", kRoot);
        page.parts.push_back(std::move(part));
    }
    if (truncated(root, kRoot)) {
        std::uint64_t marker = number(root, "NextPartNumberMarker", kRoot);
        if (marker < 1 || marker > 10000)
            throw bad(kRoot, "NextPartNumberMarker " + std::to_string(marker));
        page.next_marker = static_cast<int>(marker);
    }
    return page;
}

UploadsPage parse_list_uploads(std::string_view xml) {
    constexpr std::string_view kRoot = "ListMultipartUploadsResult";
    pugi::xml_document document;
    pugi::xml_node root = load(document, xml, kRoot);
    KeyDecoder decode(root);
    UploadsPage page;
    for (const pugi::xml_node& node : root.children()) {
        if (local_name(node) != "Upload")
            continue;
        page.uploads.push_back({decode(required(node, "Key", kRoot)),
                                required(node, "UploadId", kRoot), time(node, "Initiated", kRoot)});
    }
    page.truncated = truncated(root, kRoot);
    if (page.truncated) {
        page.next_key_marker = decode(text(root, "NextKeyMarker"));
        page.next_upload_id_marker = text(root, "NextUploadIdMarker");
        // Swift 2.30 leaves both empty after a page of one.
        if (page.next_key_marker.empty() && !page.uploads.empty()) {
            page.next_key_marker = page.uploads.back().key;
            page.next_upload_id_marker = page.uploads.back().upload_id;
        }
        if (page.next_key_marker.empty())
            throw bad(kRoot, "truncated, without NextKeyMarker");
    }
    return page;
}

std::string parse_create_upload(std::string_view xml) {
    constexpr std::string_view kRoot = "InitiateMultipartUploadResult";
    pugi::xml_document document;
    return required(load(document, xml, kRoot), "UploadId", kRoot);
}

std::string parse_complete_upload(std::string_view xml) {
    return etag_of(xml, "CompleteMultipartUploadResult");
}

std::string parse_copy_part(std::string_view xml) {
    std::string etag = etag_of(xml, "CopyPartResult");
    if (etag.empty())
        throw bad("CopyPartResult", "no ETag");
    return etag;
}

std::string format_complete_upload(std::vector<PartInfo> parts) {
    std::sort(parts.begin(), parts.end(),
              [](const PartInfo& a, const PartInfo& b) { return a.number < b.number; });
    pugi::xml_document document;
    pugi::xml_node root = document.append_child("CompleteMultipartUpload");
    root.append_attribute("xmlns") = "http://s3.amazonaws.com/doc/2006-03-01/";
    for (const PartInfo& part : parts) {
        pugi::xml_node node = root.append_child("Part");
        node.append_child("PartNumber").text() = part.number;
        node.append_child("ETag").text() = ('"' + part.etag + '"').c_str();
    }
    struct StringWriter final : pugi::xml_writer {
        std::string out;
        void write(const void* data, std::size_t size) override {
            out.append(static_cast<const char*>(data), size);
        }
    } writer;
    document.save(writer, "", pugi::format_raw | pugi::format_no_declaration);
    return std::move(writer.out);
}

StsCredentials parse_sts_credentials(std::string_view xml) {
    // <AssumeRole...Response><AssumeRole...Result><Credentials>
    pugi::xml_document document;
    std::string_view name = "AssumeRole";
    if (xml.find("AssumeRoleWithWebIdentityResponse") != std::string_view::npos)
        name = "AssumeRoleWithWebIdentity";
    std::string kind(name);
    pugi::xml_node root = load(document, xml, kind + "Response");
    pugi::xml_node node = child(child(root, kind + "Result"), "Credentials");
    return {required(node, "AccessKeyId", kind), required(node, "SecretAccessKey", kind),
            required(node, "SessionToken", kind), text(node, "Expiration")};
}

std::string strip_etag(std::string_view etag) {
    etag = trim(etag);
    if (etag.starts_with("W/"))
        etag.remove_prefix(2);
    if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"')
        etag = etag.substr(1, etag.size() - 2);
    return std::string(etag);
}

} // namespace zl
