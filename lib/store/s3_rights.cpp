#include "store/s3_rights.hpp"

#include <algorithm>

namespace zl {

std::string needed_right(const std::string& bucket, std::string_view method, const std::string& key,
                         const QueryParams& query) {
    auto has = [&](std::string_view name) {
        return std::any_of(query.begin(), query.end(), [&](auto& q) { return q.first == name; });
    };
    const std::string whole = "arn:aws:s3:::" + bucket;
    if (key.empty())
        return (has("uploads") ? "s3:ListBucketMultipartUploads on " : "s3:ListBucket on ") + whole;
    const std::string object = " on " + whole + '/' + key;
    if (method == "DELETE")
        return (has("uploadId") ? "s3:AbortMultipartUpload" : "s3:DeleteObject") + object;
    if (method == "PUT" || method == "POST")
        return "s3:PutObject" + object;
    if (has("uploadId"))
        return "s3:ListMultipartUploadParts" + object;
    // Who may not list is not told either that a key is missing: the answer is the same 403.
    return "s3:GetObject" + object + " and s3:ListBucket on " + whole;
}

} // namespace zl
