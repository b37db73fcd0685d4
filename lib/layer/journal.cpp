#include "layer/journal.hpp"

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "layer/pax_parse.hpp"
#include "layer/staging.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

namespace zl {

namespace {

constexpr int kFormat = 1;
constexpr const char* kTemporary = "journal";
constexpr const char* kFixups = "fixups";
constexpr const char* kDeletions = "deletions";

constexpr const char* kStates[] = {"deleting", "moving", "moved"};
constexpr const char* kWhiteouts[] = {"overlay", "oci", "apply"};

template <typename Enum, std::size_t N>
Enum from_word(const std::string& word, const char* const (&words)[N]) {
    for (std::size_t i = 0; i < N; ++i)
        if (word == words[i])
            return static_cast<Enum>(i);
    throw Error(ErrorKind::data, std::string(kJournalName) + ": unknown value '" + word + "'");
}

void write_new(int dir, const char* name, std::string_view text) {
    UniqueFd fd(::openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd)
        throw sys_error(std::string("create ") + name).with_kind(ErrorKind::io);
    write_full(fd.get(), as_bytes(text), name);
    if (::fsync(fd.get()) != 0)
        throw sys_error(std::string("fsync ") + name).with_kind(ErrorKind::io);
    fd.close_checked(name);
}

/// nullopt: not there.
std::optional<std::string> read_all(int dir, const char* name) {
    UniqueFd fd(::openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd && errno == ENOENT)
        return std::nullopt;
    if (!fd)
        throw sys_error(std::string("open ") + name).with_kind(ErrorKind::io);
    std::string text;
    for (;;) {
        std::byte block[64 << 10];
        const std::size_t n = read_full(fd.get(), block, name);
        text.append(as_text(Bytes(block, n)));
        if (n < sizeof block)
            return text;
    }
}

/// Calls @p take(record) for each NUL-ended record.
template <typename Take> void each_record(std::string_view text, const char* name, Take take) {
    while (!text.empty()) {
        const auto end = text.find('\0');
        if (end == std::string_view::npos)
            throw Error(ErrorKind::data, std::string(name) + ": truncated");
        take(text.substr(0, end));
        text.remove_prefix(end + 1);
    }
}

/// Takes the word up to the next blank off @p record.
std::string_view take_word(std::string_view& record) {
    const auto blank = record.find(' ');
    if (blank == std::string_view::npos)
        throw Error(ErrorKind::data, "malformed record in the stage's lists");
    const std::string_view word = record.substr(0, blank);
    record.remove_prefix(blank + 1);
    return word;
}

template <typename Int> Int take_number(std::string_view& record) {
    const std::string_view word = take_word(record);
    Int value{};
    const auto end = word.data() + word.size();
    if (std::from_chars(word.data(), end, value).ptr != end || word.empty())
        throw Error(ErrorKind::data, "malformed number in the stage's lists");
    return value;
}

/// A path from one of our lists is still only trusted as far as one from an archive.
std::string listed_path(std::string_view text) {
    return text.empty() ? std::string() : clean_tar_path(text);
}

} // namespace

void write_journal(int dir_fd, int stage_fd, const Journal& j) {
    Json json;
    json["format"] = kFormat;
    json["state"] = kStates[static_cast<int>(j.state)];
    json["digest"] = j.digest;
    json["whiteouts"] = kWhiteouts[static_cast<int>(j.whiteouts)];
    json["userxattr"] = j.userxattr;
    if (j.mtime) {
        json["mtime"] = *j.mtime;
        json["mtime_ns"] = j.mtime_ns;
    }
    write_new(stage_fd, kTemporary, dump_json(json) + "\n");
    if (::renameat(stage_fd, kTemporary, dir_fd, kJournalName) != 0 || ::fsync(dir_fd) != 0)
        throw sys_error(std::string("write ") + kJournalName).with_kind(ErrorKind::io);
}

std::optional<Journal> read_journal(int dir_fd) {
    const auto text = read_all(dir_fd, kJournalName);
    if (!text)
        return std::nullopt;
    const Json json = parse_json(*text, kJournalName);
    if (json_uint(json, "format", kJournalName) != kFormat)
        throw Error(ErrorKind::data, std::string(kJournalName) + ": written by a newer zl-unpack");
    Journal j;
    j.state = from_word<Journal::State>(json_string(json, "state", kJournalName), kStates);
    j.digest = json_string(json, "digest", kJournalName);
    j.whiteouts =
        from_word<WhiteoutMode>(json_string(json, "whiteouts", kJournalName), kWhiteouts);
    j.userxattr = json.value("userxattr", false);
    if (json.contains("mtime") && json["mtime"].is_number_integer()) {
        j.mtime = json["mtime"].get<std::int64_t>();
        j.mtime_ns = static_cast<std::uint32_t>(json_uint(json, "mtime_ns", kJournalName));
    }
    return j;
}

void write_fixups(int stage_fd, const std::vector<Fixup>& fixups) {
    std::string text;
    for (const auto& f : fixups) {
        text += f.merged ? "d " : "m ";
        text += std::to_string(f.mode) + " " + std::to_string(f.mtime) + " " +
                std::to_string(f.mtime_ns) + " " + f.path;
        text += '\0';
    }
    write_new(stage_fd, kFixups, text);
}

std::vector<Fixup> read_fixups(int stage_fd) {
    std::vector<Fixup> fixups;
    each_record(read_all(stage_fd, kFixups).value_or(""), kFixups, [&](std::string_view r) {
        Fixup f;
        f.merged = take_word(r) == "d";
        f.mode = take_number<std::uint32_t>(r) & 07777;
        f.mtime = take_number<std::int64_t>(r);
        f.mtime_ns = take_number<std::uint32_t>(r);
        f.path = listed_path(r);
        fixups.push_back(std::move(f));
    });
    return fixups;
}

void write_deletions(int stage_fd, const std::vector<Deletion>& deletions) {
    std::string text;
    for (const auto& d : deletions) {
        text += (d.opaque ? "o " : "w ") + d.path;
        text += '\0';
    }
    write_new(stage_fd, kDeletions, text);
}

std::vector<Deletion> read_deletions(int stage_fd) {
    std::vector<Deletion> deletions;
    each_record(read_all(stage_fd, kDeletions).value_or(""), kDeletions, [&](std::string_view r) {
        const bool opaque = take_word(r) == "o";
        deletions.push_back({listed_path(r), opaque});
    });
    return deletions;
}

} // namespace zl
