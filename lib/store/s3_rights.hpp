/// Names of rights in policies (IAM, bucket policies), so that a refusal says what is missing.
/// https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
#pragma once

#include "store/uri.hpp"

#include <string>
#include <string_view>

namespace zl {

/// The right that a request of ours needs, and on what: `s3:PutObject on arn:aws:s3:::bucket/key`.
/// @p key empty = the bucket. Of a read it also says what is needed to learn that a key is missing.
std::string needed_right(const std::string& bucket, std::string_view method, const std::string& key,
                         const QueryParams& query);

} // namespace zl
