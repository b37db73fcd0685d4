#include "store/s3_rights.hpp"

#include <doctest/doctest.h>

using namespace zl;

TEST_SUITE("store/s3_rights") {
    TEST_CASE("the right that each kind of request needs, by the name that policies have for it") {
        auto right = [](const char* method, const char* key, const QueryParams& query = {}) {
            return needed_right("b", method, key, query);
        };
        CHECK(right("PUT", "k") == "s3:PutObject on arn:aws:s3:::b/k");
        CHECK(right("PUT", "k", {{"partNumber", "1"}, {"uploadId", "u"}}) ==
              "s3:PutObject on arn:aws:s3:::b/k");
        CHECK(right("POST", "k", {{"uploads", ""}}) == "s3:PutObject on arn:aws:s3:::b/k");
        CHECK(right("POST", "k", {{"uploadId", "u"}}) == "s3:PutObject on arn:aws:s3:::b/k");
        CHECK(right("DELETE", "k") == "s3:DeleteObject on arn:aws:s3:::b/k");
        CHECK(right("DELETE", "k", {{"uploadId", "u"}}) ==
              "s3:AbortMultipartUpload on arn:aws:s3:::b/k");
        CHECK(right("GET", "k", {{"uploadId", "u"}}) ==
              "s3:ListMultipartUploadParts on arn:aws:s3:::b/k");
        CHECK(right("GET", "", {{"list-type", "2"}}) == "s3:ListBucket on arn:aws:s3:::b");
        CHECK(right("GET", "", {{"uploads", ""}}) ==
              "s3:ListBucketMultipartUploads on arn:aws:s3:::b");
        for (const char* method : {"GET", "HEAD"})
            CHECK(right(method, "k") ==
                  "s3:GetObject on arn:aws:s3:::b/k and s3:ListBucket on arn:aws:s3:::b");
    }
}
