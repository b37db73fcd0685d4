/// NAMEs of layers and databases. A NAME becomes part of a key (zl-format(5)), so it is one or more
/// parts of A-Z a-z 0-9 . _ - joined by `/`, each of 1 to 200 bytes and not beginning with a dot,
/// in all at most 512. It must not be taken for something else: not `latest`, not 8 or more hex
/// digits (those are digests), and no part may be a word that the layout uses below a NAME.
#pragma once

#include <string_view>

namespace zl {

/// Of a layer. Reserved words: snapshots, wal, refs, metadata.json. Throws usage.
void check_name(std::string_view name);
/// Of a database: `merged` is reserved too. Throws usage.
void check_db_name(std::string_view name);
/// The same as an answer: for keys that a store lists.
bool is_layer_name(std::string_view name);
bool is_db_name(std::string_view name);

} // namespace zl
