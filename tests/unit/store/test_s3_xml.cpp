#include "store/s3_xml.hpp"

#include <doctest/doctest.h>

using namespace zl;

namespace {

const std::string kList =
    R"(<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix></Prefix>
<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>
<Contents><Key>z%2Fb+c%2Bd%25</Key><LastModified>2026-11-22T06:00:00.000Z</LastModified>
<ETag>&quot;abc-3&quot;</ETag><Size>5000000000</Size></Contents>
<Contents><Key>a</Key><LastModified>1999-12-31T23:59:59.9Z</LastModified><ETag>"d"</ETag><Size>0</Size></Contents>
<CommonPrefixes><Prefix>b%2F</Prefix></CommonPrefixes>
<NextContinuationToken>1/2+3==</NextContinuationToken></ListBucketResult>)";

const std::string kParts =
    R"(<ListPartsResult><IsTruncated>true</IsTruncated><NextPartNumberMarker>2</NextPartNumberMarker>
<Part><PartNumber>1</PartNumber><Size>5242880</Size><ETag>"e1"</ETag>
<LastModified>2026-11-22T06:00:00.000Z</LastModified></Part>
<Part><PartNumber>2</PartNumber><Size>7</Size><ETag>e2</ETag>
<LastModified>2026-11-22T06:00:01.000Z</LastModified></Part></ListPartsResult>)";

const std::string kUploads =
    R"(<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k+1</NextKeyMarker>
<NextUploadIdMarker>i1</NextUploadIdMarker><Upload><Key>k+1</Key><UploadId>a+/=</UploadId>
<Initiated>2026-11-22T06:00:00Z</Initiated></Upload></ListMultipartUploadsResult>)";

const std::string kError = "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code>"
                           "<Message>Please &lt;reduce&gt;</Message><Region>eu-west-1</Region>"
                           "<Endpoint>b.s3.amazonaws.com</Endpoint>"
                           "<RequestId>r1</RequestId></Error>";

/// Each proper prefix of @p text must be refused as data, and so must @p text in another element.
template <typename F>
void check_robust(const std::string& text, F parse) {
    for (std::size_t n = 0; n < text.size(); ++n) {
        CAPTURE(n);
        try {
            parse(text.substr(0, n));
            FAIL("accepted a cut document");
        } catch (const Error& e) {
            REQUIRE(e.kind() == ErrorKind::data);
        }
    }
    for (const std::string& other :
         {std::string("<Other/>"), std::string("{}"), std::string("<html><body>hello"), kError,
          std::string(100000, '<'), std::string("\0\0\0", 3)}) {
        try {
            parse(other);
            FAIL("accepted another document");
        } catch (const Error& e) {
            CHECK(e.kind() == ErrorKind::data);
        }
    }
    // Any single byte changed: a result or data, never anything else.
    for (std::size_t n = 0; n < text.size(); ++n)
        for (char c : {'<', '&', '\0', '\xff', '9'}) {
            std::string changed = text;
            changed[n] = c;
            try {
                parse(changed);
            } catch (const Error& e) {
                REQUIRE(e.kind() == ErrorKind::data);
            }
        }
}

} // namespace

TEST_SUITE_BEGIN("store/s3_xml");

TEST_CASE("a listing is decoded and ordered") {
    ListPage page = parse_list_objects(kList);
    REQUIRE(page.objects.size() == 3);
    CHECK(page.objects[0].key == "a");
    CHECK(page.objects[0].last_modified == parse_time("1999-12-31T23:59:59.9Z"));
    CHECK(page.objects[1].key == "b/");
    CHECK(page.objects[1].etag.empty());
    CHECK(page.objects[2].key == "z/b c+d%");
    CHECK(page.objects[2].size == 5000000000);
    CHECK(page.objects[2].etag == "abc-3");
    CHECK(page.objects[2].last_modified == parse_time("2026-11-22T06:00:00Z"));
    CHECK(page.next_token == "1/2+3==");
    check_robust(kList, parse_list_objects);
}

TEST_CASE("keys are taken as they are without EncodingType") {
    ListPage page = parse_list_objects(
        "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a+b%41 </Key>"
        "<Size>1</Size><LastModified>2026-11-22T06:00:00Z</LastModified></Contents>"
        "</ListBucketResult>");
    REQUIRE(page.objects.size() == 1);
    CHECK(page.objects[0].key == "a+b%41 ");
    CHECK(page.next_token.empty());
}

TEST_CASE("a listing without what matters is refused") {
    for (const char* text :
         {"<ListBucketResult/>",
          "<ListBucketResult><IsTruncated>maybe</IsTruncated></ListBucketResult>",
          "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
          "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Size>1</Size></Contents>"
          "</ListBucketResult>",
          "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>k</Key>"
          "<LastModified>2026-11-22T06:00:00Z</LastModified></Contents></ListBucketResult>",
          "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>k</Key>"
          "<Size>-1</Size></Contents></ListBucketResult>",
          "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>k</Key>"
          "<Size>99999999999999999999</Size></Contents></ListBucketResult>"}) {
        INFO(text);
        CHECK_THROWS_AS(parse_list_objects(text), Error);
    }
}

TEST_CASE("a time that is missing or cannot be read is never a long time ago") {
    // It became 1970: a prune took what was seconds old for older than any grace period.
    for (const char* time : {"", "bad", "2026-11-22T18:38:35", "2026-11-22", "1795372715"}) {
        INFO(time);
        const std::string value(time);
        auto of = [&](const std::string& name) {
            return value.empty() ? "" : "<" + name + ">" + value + "</" + name + ">";
        };
        CHECK_THROWS_AS(parse_list_objects("<ListBucketResult><IsTruncated>false</IsTruncated>"
                                           "<Contents><Key>k</Key><Size>1</Size>" +
                                           of("LastModified") + "</Contents></ListBucketResult>"),
                        Error);
        CHECK_THROWS_AS(parse_list_parts("<ListPartsResult><IsTruncated>false</IsTruncated><Part>"
                                         "<PartNumber>1</PartNumber><Size>1</Size><ETag>e</ETag>" +
                                         of("LastModified") + "</Part></ListPartsResult>"),
                        Error);
        CHECK_THROWS_AS(
            parse_list_uploads("<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>"
                               "<Upload><Key>k</Key><UploadId>i</UploadId>" +
                               of("Initiated") + "</Upload></ListMultipartUploadsResult>"),
            Error);
    }
}

TEST_CASE("parts are read with their sizes and ETags") {
    PartsPage page = parse_list_parts(kParts);
    REQUIRE(page.parts.size() == 2);
    CHECK(page.parts[0].number == 1);
    CHECK(page.parts[0].size == 5242880);
    CHECK(page.parts[0].etag == "e1");
    CHECK(page.parts[1].etag == "e2");
    CHECK(page.parts[1].last_modified == parse_time("2026-11-22T06:00:01Z"));
    CHECK(page.next_marker == 2);
    check_robust(kParts, parse_list_parts);
    CHECK_THROWS_AS(parse_list_parts("<ListPartsResult><IsTruncated>false</IsTruncated><Part>"
                                     "<PartNumber>10001</PartNumber><Size>1</Size><ETag>e</ETag>"
                                     "</Part></ListPartsResult>"),
                    Error);
}

TEST_CASE("uploads are read, and Swift's missing markers made up") {
    UploadsPage page = parse_list_uploads(kUploads);
    REQUIRE(page.uploads.size() == 1);
    CHECK(page.uploads[0].key == "k+1");
    CHECK(page.uploads[0].upload_id == "a+/=");
    CHECK(page.uploads[0].initiated == parse_time("2026-11-22T06:00:00Z"));
    CHECK(page.truncated);
    CHECK(page.next_key_marker == "k+1");
    check_robust(kUploads, parse_list_uploads);

    page = parse_list_uploads("<ListMultipartUploadsResult><NextKeyMarker></NextKeyMarker>"
                              "<IsTruncated>true</IsTruncated><Upload><Key>k</Key>"
                              "<UploadId>i</UploadId><Initiated>2026-11-22T06:00:00Z</Initiated>"
                              "</Upload></ListMultipartUploadsResult>");
    CHECK(page.next_key_marker == "k");
    CHECK(page.next_upload_id_marker == "i");
    CHECK_THROWS_AS(parse_list_uploads("<ListMultipartUploadsResult><IsTruncated>true"
                                       "</IsTruncated></ListMultipartUploadsResult>"),
                    Error);
}

TEST_CASE("errors are recognised, whole ones only") {
    auto error = parse_s3_error(kError);
    REQUIRE(error.has_value());
    CHECK(error->code == "SlowDown");
    CHECK(error->message == "Please <reduce>");
    CHECK(error->region == "eu-west-1");
    CHECK(error->endpoint == "b.s3.amazonaws.com");
    CHECK(error->request_id == "r1");
    CHECK(parse_s3_error("   \r\n  " + kError).has_value()); // kept alive with blanks
    for (std::size_t n = 0; n < kError.size(); ++n)
        CHECK(!parse_s3_error(kError.substr(0, n)).has_value());
    for (const char* text : {"", "<Error/>", "<Error><Code></Code></Error>", "<html/>", "text",
                             "<CompleteMultipartUploadResult/>"})
        CHECK(!parse_s3_error(text).has_value());
    auto sts = parse_s3_error("<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"
                              "<Error><Type>Sender</Type><Code>AccessDenied</Code>"
                              "<Message>no</Message></Error><RequestId>r</RequestId>"
                              "</ErrorResponse>");
    REQUIRE(sts.has_value());
    CHECK(sts->code == "AccessDenied");
}

TEST_CASE("a completed upload may have no ETag, but must be a whole reply") {
    CHECK(parse_complete_upload("   <?xml version=\"1.0\"?><CompleteMultipartUploadResult>"
                                "<ETag>\"x-2\"</ETag></CompleteMultipartUploadResult>") == "x-2");
    CHECK(parse_complete_upload("<CompleteMultipartUploadResult><ETag></ETag>"
                                "</CompleteMultipartUploadResult>")
              .empty());
    check_robust("<CompleteMultipartUploadResult><ETag>\"x\"</ETag>"
                 "</CompleteMultipartUploadResult>",
                 parse_complete_upload);
    CHECK(parse_copy_part("<CopyPartResult><ETag>\"y\"</ETag></CopyPartResult>") == "y");
    CHECK_THROWS_AS(parse_copy_part("<CopyPartResult/>"), Error);
    CHECK(parse_create_upload("<InitiateMultipartUploadResult><UploadId>a+/=</UploadId>"
                              "</InitiateMultipartUploadResult>") == "a+/=");
    CHECK_THROWS_AS(parse_create_upload("<InitiateMultipartUploadResult/>"), Error);
}

TEST_CASE("a document nested a million deep does no harm") {
    std::string deep;
    for (int i = 0; i < 1000000; ++i)
        deep += "<Error>";
    CHECK(!parse_s3_error(deep).has_value());
    std::string closed = deep;
    for (int i = 0; i < 1000000; ++i)
        closed += "</Error>";
    CHECK(!parse_s3_error(closed).has_value());
}

TEST_CASE("entities are not expanded") {
    CHECK(!parse_s3_error("<!DOCTYPE Error [<!ENTITY a \"SlowDown\">]><Error><Code>&a;</Code>"
                          "</Error>")
               .value_or(S3Error{})
               .code.starts_with("SlowDown"));
}

TEST_CASE("the parts to join are listed in ascending order") {
    CHECK(format_complete_upload({{2, 1, "b"}, {1, 1, "a\"<"}}) ==
          "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
          "<Part><PartNumber>1</PartNumber><ETag>\"a\"&lt;\"</ETag></Part>"
          "<Part><PartNumber>2</PartNumber><ETag>\"b\"</ETag></Part></CompleteMultipartUpload>");
}

TEST_CASE("ETags lose their quotes") {
    CHECK(strip_etag("\"abc\"") == "abc");
    CHECK(strip_etag("abc") == "abc");
    CHECK(strip_etag(" W/\"abc\" ") == "abc");
    CHECK(strip_etag("\"") == "\"");
    CHECK(strip_etag("") == "");
}

TEST_SUITE_END();
