#include "wal/hash_blocks.hpp"

#include "base/file.hpp"

#include <algorithm>
#include <array>
#include <optional>

namespace zl::hash_blocks {

namespace {

constexpr std::uint32_t kBlock = 128;
constexpr std::size_t kBlockBytes = kBlock * 8;
using Block = std::array<std::uint64_t, kBlock>;

std::uint32_t block_of(std::uint32_t page) {
    return (page - 1) / kBlock;
}

std::string encode_block(std::uint32_t number, const Block& block) {
    std::string out;
    auto append = [&](std::uint64_t v) {
        for (int i = 0; i < 8; ++i)
            out += static_cast<char>(v >> (8 * i));
    };
    out.reserve(kBlockBytes + 8);
    for (std::uint64_t hash : block)
        append(hash);
    // A rotten hash would make a wrong checksum of the database, which no restore could prove.
    append(page_hash(number, as_bytes(out)));
    return out;
}

Block decode_block(std::uint32_t number, const std::string& text) {
    auto get = [&](std::size_t at) {
        std::uint64_t v = 0;
        for (std::size_t i = 8; i-- > 0;)
            v = v << 8 | static_cast<unsigned char>(text[at + i]);
        return v;
    };
    if (text.size() != kBlockBytes + 8 ||
        get(kBlockBytes) != page_hash(number, as_bytes(text).first(kBlockBytes)))
        throw Error(ErrorKind::data,
                    "state database: page hashes " + std::to_string(number) + " are damaged");
    Block block;
    for (std::size_t i = 0; i < kBlock; ++i)
        block[i] = get(i * 8);
    return block;
}

/// Reads and writes single blocks; prepared once for many.
class BlockTable {
public:
    // Db's statements bind and give text: the cast keeps the bytes and makes the row a BLOB.
    explicit BlockTable(Db& db)
        : select_(db, "SELECT hashes FROM page_hash WHERE block = ?"),
          replace_(db, "INSERT OR REPLACE INTO page_hash (block, hashes)"
                       " VALUES (?, CAST(? AS BLOB))") {}

    Block get(std::uint32_t number) {
        select_.bind(1, std::uint64_t{number});
        Block block{};
        if (select_.step())
            block = decode_block(number, select_.column_text(0));
        select_.reset();
        return block;
    }
    void put(std::uint32_t number, const Block& block) {
        replace_.bind(1, std::uint64_t{number}).bind(2, encode_block(number, block)).run();
    }

private:
    Stmt select_, replace_;
};

std::int64_t count_hashes(const Block& block) {
    return std::count_if(block.begin(), block.end(), [](std::uint64_t h) { return h != 0; });
}

void add_to_count(Db& db, std::int64_t pages) {
    if (pages != 0)
        Stmt(db, "UPDATE page_hash_count SET pages = pages + ?").bind(1, pages).run();
}

/// Calls @p visit(number, block) for the rows @p first .. @p last that exist, ascending.
template <typename F>
void read_blocks(Db& db, std::uint32_t first, std::uint32_t last, F visit) {
    Stmt rows(db, "SELECT block, hashes FROM page_hash WHERE block BETWEEN ? AND ? ORDER BY block");
    rows.bind(1, std::uint64_t{first}).bind(2, std::uint64_t{last});
    while (rows.step()) {
        auto number = static_cast<std::uint32_t>(rows.column_int(0));
        visit(number, decode_block(number, rows.column_text(1)));
    }
}

} // namespace

void write(Db& db, const std::vector<PageHash>& changed) {
    BlockTable table(db);
    std::int64_t grown = 0;
    for (std::size_t at = 0; at < changed.size();) {
        std::uint32_t number = block_of(changed[at].first);
        Block block = table.get(number);
        grown -= count_hashes(block);
        for (; at < changed.size() && block_of(changed[at].first) == number; ++at)
            block[(changed[at].first - 1) % kBlock] = changed[at].second;
        grown += count_hashes(block);
        table.put(number, block);
    }
    add_to_count(db, grown);
}

void drop_beyond(Db& db, std::uint32_t page_count) {
    // Pages from page_count + 1 on; its block may hold pages that stay.
    std::uint32_t number = page_count / kBlock;
    std::int64_t dropped = 0;
    if (std::uint32_t keep = page_count % kBlock) {
        BlockTable table(db);
        Block block = table.get(number);
        std::int64_t before = count_hashes(block);
        std::fill(block.begin() + keep, block.end(), 0);
        dropped = before - count_hashes(block);
        if (dropped != 0)
            table.put(number, block);
        ++number;
    }
    read_blocks(db, number, UINT32_MAX,
                [&](std::uint32_t, const Block& block) { dropped += count_hashes(block); });
    Stmt(db, "DELETE FROM page_hash WHERE block >= ?").bind(1, std::uint64_t{number}).run();
    add_to_count(db, -dropped);
}

std::vector<std::uint64_t> run(Db& db, std::uint32_t first, std::size_t count) {
    std::vector<std::uint64_t> out(count);
    if (count == 0)
        return out;
    auto last = static_cast<std::uint32_t>(std::min<std::uint64_t>(first + count - 1, UINT32_MAX));
    read_blocks(db, block_of(first), block_of(last), [&](std::uint32_t n, const Block& block) {
        for (std::uint32_t i = 0; i < kBlock; ++i) {
            std::uint64_t page = std::uint64_t{n} * kBlock + i + 1;
            if (page >= first && page <= last)
                out[page - first] = block[i];
        }
    });
    return out;
}

std::vector<std::uint64_t> of_pages(Db& db, const std::vector<std::uint32_t>& pages) {
    std::vector<std::uint64_t> out;
    out.reserve(pages.size());
    BlockTable table(db);
    std::optional<std::uint32_t> number;
    Block block{};
    for (std::uint32_t page : pages) {
        if (number != block_of(page)) {
            number = block_of(page);
            block = table.get(*number);
        }
        out.push_back(block[(page - 1) % kBlock]);
    }
    return out;
}

std::uint32_t count(Db& db) {
    Stmt s(db, "SELECT pages FROM page_hash_count");
    if (!s.step())
        throw Error(ErrorKind::data, "state database: page hashes are not counted");
    return static_cast<std::uint32_t>(s.column_int(0));
}

void clear(Db& db) {
    db.exec("DELETE FROM page_hash; UPDATE page_hash_count SET pages = 0;");
}

} // namespace zl::hash_blocks
