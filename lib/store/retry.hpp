/// What a failed attempt means and how long to wait before the next. Pure.
#pragma once

#include "base/error.hpp"
#include "base/units.hpp"
#include "store/http_client.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace zl {

/// How one attempt ended: below HTTP, in HTTP, and in S3's <Error><Code> (empty: none seen).
struct Outcome {
    Transport transport = Transport::ok;
    int status = 0;
    std::string code;
};

enum class Verdict {
    ok,
    fail,    ///< repeating cannot help
    retry,   ///< after a delay
    refresh, ///< new credentials, once
    clock,   ///< learn the clock offset from `Date`, once
    region,  ///< another region or host, once
};

Verdict classify(const Outcome& outcome);
/// False only where the request surely was not carried out: no connection, or refused with a
/// definite answer. What is not idempotent may be repeated then.
bool may_have_happened(const Outcome& outcome);
/// Kind of the Error that an outcome becomes once nobody retries it. 404 without a code is
/// not_found.
ErrorKind error_kind(const Outcome& outcome);

/// Delay before attempt @p attempt + 1 (the first is 0): exponential from 100 ms to 20 s, between
/// half and all of it by @p random in [0, 1); at least @p retry_after. nullopt: the budget is
/// spent, or would be before @p retry_after.
std::optional<Millis> retry_delay(int attempt, Millis elapsed, Millis budget,
                                  std::optional<Millis> retry_after, double random);
/// `Retry-After`: seconds or an HTTP date (against @p now); nullopt if it is neither.
std::optional<Millis> parse_retry_after(std::string_view text, TimePoint now);

} // namespace zl
