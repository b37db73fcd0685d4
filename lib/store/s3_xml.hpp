/// S3's XML replies and requests. Replies are untrusted: anything that does not have the expected
/// root element, or is cut, throws data naming the document. The only file pair that knows the XML
/// parser. Element names and nesting: the API pages of ListObjectsV2, ListParts,
/// ListMultipartUploads, CreateMultipartUpload, CompleteMultipartUpload, UploadPartCopy.
#pragma once

#include "store/object_store.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace zl {

struct S3Error {
    std::string code; ///< never empty
    std::string message;
    std::string region;      ///< of AuthorizationHeaderMalformed, PermanentRedirect
    std::string endpoint;    ///< of PermanentRedirect
    std::string server_time; ///< of RequestTimeTooSkewed
    std::string request_id;
};

/// nullopt: @p text is no (whole) <Error> document. Never throws for bad text.
std::optional<S3Error> parse_s3_error(std::string_view text);

struct ListPage {
    std::vector<ObjectInfo> objects; ///< incl. common prefixes, in bytewise order
    std::string next_token;          ///< empty = last page
};
ListPage parse_list_objects(std::string_view text);

struct PartsPage {
    std::vector<PartInfo> parts;
    int next_marker = 0; ///< 0 = last page
};
PartsPage parse_list_parts(std::string_view text);

struct UploadsPage {
    std::vector<UploadInfo> uploads;
    bool truncated = false; ///< there is another page, after these:
    std::string next_key_marker, next_upload_id_marker;
};
UploadsPage parse_list_uploads(std::string_view text);

/// The upload id.
std::string parse_create_upload(std::string_view text);
/// The ETag, without quotes, may be empty (Ceph).
std::string parse_complete_upload(std::string_view text);
/// The ETag of UploadPartCopy's <CopyPartResult>.
std::string parse_copy_part(std::string_view text);

/// Body of CompleteMultipartUpload, parts by ascending number.
std::string format_complete_upload(std::vector<PartInfo> parts);

struct StsCredentials {
    std::string access_key_id, secret_access_key, session_token, expiration;
};
/// Reply of AssumeRole and AssumeRoleWithWebIdentity.
StsCredentials parse_sts_credentials(std::string_view text);

/// Without surrounding quotes (and without W/, which S3 never means).
std::string strip_etag(std::string_view etag);

} // namespace zl
