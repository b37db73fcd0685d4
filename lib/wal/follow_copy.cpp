#include "wal/follow_copy.hpp"

#include "base/crash_point.hpp"
#include "base/disk.hpp"
#include "base/error.hpp"
#include "base/json.hpp"
#include "wal/rollback_journal.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <random>

namespace zl {

namespace {

constexpr std::array<std::size_t, 14> kFieldAt{18, 19, 24, 25, 26, 27, 28,
                                               29, 30, 31, 92, 93, 94, 95};

std::uint32_t be32(Bytes page, std::size_t at) {
    std::uint32_t v = 0;
    for (std::size_t i = 0; i < 4; ++i)
        v = v << 8 | std::to_integer<std::uint32_t>(page[at + i]);
    return v;
}

HeaderFields fields_of(Bytes page) {
    HeaderFields out;
    for (std::size_t i = 0; i < out.size(); ++i)
        out[i] = page[kFieldAt[i]];
    return out;
}
void put_fields(std::span<std::byte> page, const HeaderFields& fields) {
    for (std::size_t i = 0; i < fields.size(); ++i)
        page[kFieldAt[i]] = fields[i];
}

/// Page 1 as the copy has it: no WAL, our counter, and a size that counts.
void make_copy_header(std::span<std::byte> page, std::uint32_t counter, std::uint32_t page_count) {
    page[18] = page[19] = std::byte{1};
    for (std::size_t i = 0; i < 4; ++i) {
        page[24 + i] = page[92 + i] = static_cast<std::byte>(counter >> (24 - 8 * i));
        page[28 + i] = static_cast<std::byte>(page_count >> (24 - 8 * i));
    }
}

std::string state_path(const std::string& file) {
    auto slash = file.rfind('/');
    std::size_t at = slash == std::string::npos ? 0 : slash + 1;
    return file.substr(0, at) + "." + file.substr(at) + ".zl-follow";
}

Json to_json(const FollowState& s) {
    Json j;
    j["db_id"] = s.link.db_id;
    j["generation"] = s.link.generation;
    j["sequence"] = s.link.range.last;
    j["segment"] = s.link.id.hex();
    j["time"] = format_rfc3339(s.link.time);
    j["page_size"] = s.link.page_size;
    j["page_count"] = s.link.page_count;
    j["checksum"] = std::to_string(s.link.after);
    j["counter"] = s.counter;
    j["header"] = to_hex(s.source);
    return j;
}

FollowState from_json(const Json& j, const std::string& name) {
    FollowState s;
    s.link.db_id = json_string(j, "db_id", name);
    s.link.generation = json_string(j, "generation", name);
    s.link.range.first = s.link.range.last = json_uint(j, "sequence", name);
    auto id = Digest::from_hex(json_string(j, "segment", name));
    s.link.time = parse_time(json_string(j, "time", name));
    s.link.page_size = static_cast<std::uint32_t>(json_uint(j, "page_size", name));
    s.link.page_count = static_cast<std::uint32_t>(json_uint(j, "page_count", name));
    const std::string sum = json_string(j, "checksum", name);
    s.counter = static_cast<std::uint32_t>(json_uint(j, "counter", name));
    const std::string hex = json_string(j, "header", name);
    if (!id || !valid_page_size(s.link.page_size) || hex.size() != 2 * s.source.size() ||
        sum.empty() || sum.size() > 20 ||
        sum.find_first_not_of("0123456789") != std::string::npos ||
        hex.find_first_not_of("0123456789abcdef") != std::string::npos)
        throw Error(ErrorKind::data, name + ": malformed");
    s.link.id = *id;
    s.link.after = std::stoull(sum);
    for (std::size_t i = 0; i < s.source.size(); ++i)
        s.source[i] = static_cast<std::byte>(std::stoul(hex.substr(2 * i, 2), nullptr, 16));
    return s;
}

void write_state(const std::string& file, const std::vector<FollowState>& states) {
    Json all = Json::array();
    for (const FollowState& s : states)
        all.push_back(to_json(s));
    AtomicFile out(state_path(file), 0600);
    out.write(dump_json(all) + "\n");
    out.commit();
}

std::vector<FollowState> read_states(const std::string& file) {
    const std::string path = state_path(file);
    auto text = read_file(path);
    std::vector<FollowState> out;
    if (!text)
        return out;
    const Json all = parse_json(*text, path);
    for (const Json& j : all)
        out.push_back(from_json(j, path));
    return out;
}

std::unique_ptr<LockedDatabase> lock_database(const std::string& file,
                                              const std::stop_token& stop) {
    for (;;) {
        if (stop.stop_requested())
            throw Interrupted();
        if (auto db = LockedDatabase::try_lock(file))
            return db;
    }
}

/// Nobody but us may write a copy: what they wrote would be lost, or mixed with ours.
Error not_ours(const std::string& file) {
    return Error(ErrorKind::exists,
                 file + ": is not as the last run with --follow left it: another file, or changed "
                        "by another program",
                 "move it away; a copy that is followed is only to be read");
}

} // namespace

std::optional<FollowCopy> FollowCopy::open(const std::string& file, std::stop_token stop) {
    if (!path_exists(file))
        return std::nullopt;
    const auto states = read_states(file);
    if (states.empty())
        throw Error(ErrorKind::exists, file + ": exists, and not by --follow", "move it away");
    auto db = lock_database(file, stop);
    std::array<std::byte, 100> header{};
    if (db->size() < header.size())
        throw not_ours(file);
    db->read(0, header);
    for (const FollowState& s : states)
        if (s.counter == be32(header, 24) &&
            db->size() == std::uint64_t{s.link.page_size} * s.link.page_count)
            return FollowCopy(file, s, std::move(stop));
    throw not_ours(file);
}

FollowCopy FollowCopy::begin(const std::string& file, const std::string& db,
                             const SegmentLink& link, std::stop_token stop) {
    FollowState state{link, std::random_device()() & 0x7fffffff, {}};
    UniqueFd fd = open_file(db, O_RDWR);
    std::array<std::byte, 100> header{};
    if (pread_full(fd.get(), header, 0, db) != header.size())
        throw Error(ErrorKind::data, "the database is empty: there is nothing to follow yet");
    state.source = fields_of(header);
    make_copy_header(header, state.counter, link.page_count);
    pwrite_full(fd.get(), header, 0, db);
    write_state(file, {state});
    return FollowCopy(file, state, std::move(stop));
}

/// One apply(): pass 1 proves and writes the journal, pass 2 writes the pages.
class FollowCopy::Change {
public:
    Change(FollowCopy& copy, const SegmentLink& to)
        : copy_(copy), to_(to), from_(copy.state_.link), size_(from_.page_size),
          db_(lock_database(copy.file_, copy.stop_)), old_(size_), page1_(size_),
          journal_(copy.file_ + "-journal", size_, from_.page_count) {
        db_->read(0, page1_);
        if (be32(page1_, 24) != copy.state_.counter ||
            db_->size() != std::uint64_t{size_} * from_.page_count)
            throw not_ours(copy.file_);
    }

    void prove(const Pages& pages) {
        if (to_.page_count > from_.page_count) // pages that no segment has count as zeros
            require_space(copy_.file_, std::uint64_t{to_.page_count - from_.page_count} * size_);
        sum_ = from_.after;
        journal_.record(1, page1_);
        put_fields(page1_, copy_.state_.source); // as the source had it
        PageSet seen(to_.page_count);
        pages([&](std::uint32_t page, Bytes data) {
            stop_if_asked();
            if (!wanted(page) || !seen.insert(page))
                return;
            sum_ += page_hash(page, data);
            if (page == 1) {
                sum_ -= page_hash(1, page1_);
                std::copy(data.begin(), data.end(), page1_.begin());
            } else if (page <= from_.page_count) {
                keep_old(page);
            }
        });
        for (std::uint64_t p = std::uint64_t{to_.page_count} + 1; p <= from_.page_count; ++p) {
            stop_if_asked();
            if (p != lock_page(size_))
                keep_old(static_cast<std::uint32_t>(p));
        }
        const std::vector<std::byte> zeros(size_);
        for (std::uint64_t p = std::uint64_t{from_.page_count} + 1; p <= to_.page_count; ++p) {
            stop_if_asked();
            if (auto page = static_cast<std::uint32_t>(p); wanted(page) && !seen.contains(page))
                sum_ += page_hash(page, zeros);
        }
        if (sum_ != to_.after)
            throw Error(ErrorKind::data, copy_.file_ + ": at sequence " +
                                             std::to_string(to_.range.last) +
                                             " its checksum would be " + std::to_string(sum_) +
                                             ", expected " + std::to_string(to_.after));
    }

    void carry_out(const Pages& pages) {
        journal_.commit_records();
        crash_point("follow.journal");
        FollowState next{to_, copy_.state_.counter + 1, fields_of(page1_)};
        make_copy_header(page1_, next.counter, to_.page_count);
        PageSet seen(to_.page_count);
        pages([&](std::uint32_t page, Bytes data) {
            if (page == 1 || !wanted(page) || !seen.insert(page))
                return;
            db_->write((std::uint64_t{page} - 1) * size_, data);
            crash_point("follow.writing");
        });
        db_->write(0, page1_);
        if (db_->size() != std::uint64_t{size_} * to_.page_count)
            db_->truncate(std::uint64_t{size_} * to_.page_count);
        db_->sync();
        crash_point("follow.written");
        write_state(copy_.file_, {copy_.state_, next});
        crash_point("follow.noted");
        journal_.remove();
        crash_point("follow.applied");
        copy_.state_ = std::move(next);
    }

private:
    bool wanted(std::uint32_t page) const {
        return page >= 1 && page <= to_.page_count && page != lock_page(size_);
    }
    void keep_old(std::uint32_t page) {
        db_->read((std::uint64_t{page} - 1) * size_, old_);
        sum_ -= page_hash(page, old_);
        journal_.record(page, old_);
    }
    void stop_if_asked() const {
        if (copy_.stop_.stop_requested())
            throw Interrupted();
    }

    FollowCopy& copy_;
    const SegmentLink& to_;
    const SegmentLink from_;
    const std::uint32_t size_;
    std::unique_ptr<LockedDatabase> db_;
    std::vector<std::byte> old_, page1_;
    RollbackJournal journal_; ///< goes before the lock does
    DbChecksum sum_ = 0;
};

void FollowCopy::apply(const SegmentLink& to, const Pages& pages) {
    if (to.page_size != state_.link.page_size)
        throw Error(ErrorKind::data,
                    file_ +
                        ": the source has another page size now: " + std::to_string(to.page_size) +
                        ", the copy " + std::to_string(state_.link.page_size),
                    "move the copy away and start again");
    Change change(*this, to);
    change.prove(pages);
    change.carry_out(pages);
}

void FollowCopy::apply_file(const SegmentLink& to, const std::string& db) {
    UniqueFd fd = open_file(db, O_RDONLY);
    std::vector<std::byte> page(to.page_size);
    apply(to, [&](const PageVisitor& visit) {
        for (std::uint64_t p = 1; p <= to.page_count; ++p) {
            if (p == lock_page(to.page_size))
                continue;
            if (pread_full(fd.get(), page, (p - 1) * to.page_size, db) != page.size())
                throw Error(ErrorKind::io, db + ": shorter than what was written");
            visit(static_cast<std::uint32_t>(p), page);
        }
    });
}

} // namespace zl
