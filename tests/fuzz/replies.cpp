/// What servers, configuration files and people send: XML, JSON, INI, URLs, times, sizes.
#include "base/json.hpp"
#include "base/units.hpp"
#include "fuzz.hpp"
#include "store/aws_config.hpp"
#include "store/retry.hpp"
#include "store/s3_xml.hpp"
#include "store/store_url.hpp"
#include "transfer/layer_meta.hpp"
#include "transfer/refs.hpp"

using namespace zl;

int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    const std::string text(fuzz::text_of(fuzz::bytes_of(data, size)));
    parse_s3_error(text);
    fuzz::refusal([&] { parse_list_objects(text); });
    fuzz::refusal([&] { parse_list_parts(text); });
    fuzz::refusal([&] { parse_list_uploads(text); });
    fuzz::refusal([&] { parse_create_upload(text); });
    fuzz::refusal([&] { parse_complete_upload(text); });
    fuzz::refusal([&] { parse_sts_credentials(text); });
    fuzz::refusal([&] { parse_json(text, "json"); });
    fuzz::refusal([&] { parse_ini(text); });
    fuzz::refusal([&] { StoreUrl::parse(text); });
    fuzz::refusal([&] { parse_size(text); });
    fuzz::refusal([&] { parse_duration(text); });
    fuzz::refusal([&] { parse_time(text); });
    if (auto time = parse_key_time(text))
        fuzz::require(format_key_time(*time) == text, "a key's time has one form");
    parse_http_date(text);
    parse_retry_after(text, TimePoint{});
    parse_ref_key("layers/", text);
    fuzz::refusal([&] { decode_layer_meta(text, "meta.json"); });
    return 0;
}
