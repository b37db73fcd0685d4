/// TarReader. What it takes, others take for the same: TarScanner finds nothing ambiguous, and
/// libarchive reads the same entries with the same content.
#include "fuzz.hpp"
#include "layer/foreign_reader.hpp"
#include "layer/tar_reader.hpp"
#include "layer/tar_scanner.hpp"
#include "stream/hash.hpp"

using namespace zl;

namespace {

constexpr std::uint64_t kMost = 1 << 20; ///< of content that is compared

std::string content(EntryReader& reader, std::uint64_t size) {
    std::string all;
    if (size <= kMost)
        all.resize(size);
    std::uint64_t at = 0;
    while (auto piece = reader.read()) {
        fuzz::require(piece->offset >= at && piece->offset + piece->data.size() <= size,
                      "pieces ascend and stay inside of the file");
        at = piece->offset + piece->data.size();
        if (size <= kMost && !piece->data.empty())
            std::memcpy(all.data() + piece->offset, piece->data.data(), piece->data.size());
    }
    return all;
}

std::string describe(EntryReader& reader) {
    std::string out;
    TarEntry e;
    while (reader.next(e)) {
        for (const std::string* name : {&e.path, &e.link})
            fuzz::require(name == &e.link && e.type == EntryType::symlink
                              ? true
                              : name->empty() || clean_tar_path(*name) == *name,
                          "names are clean: " + *name);
        out += std::string(1, static_cast<char>(e.type)) + "|" + e.path + "|" + e.link + "|" +
               std::to_string(e.size) + "|" + std::to_string(e.mode) + "|" + std::to_string(e.uid) +
               "|" + std::to_string(e.gid) + "|" + std::to_string(e.mtime) + "|" +
               std::to_string(e.dev_major) + "," + std::to_string(e.dev_minor) + "\n" +
               content(reader, e.size) + "\n";
    }
    return out;
}

template <class Reader> std::string all_of(Reader make, std::string& refused) {
    std::string out;
    refused = fuzz::refusal([&] { out = describe(*make()); });
    return out;
}

} // namespace

int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    const Bytes tar = fuzz::bytes_of(data, size);
    std::string refused, foreign_refused;
    fuzz::BytesSource whole(tar), cut(tar, 7), for_foreign(tar);
    const std::string ours = all_of([&] { return std::make_unique<TarReader>(whole); }, refused);
    std::string refused_cut;
    all_of([&] { return std::make_unique<TarReader>(cut); }, refused_cut);
    fuzz::require(refused == refused_cut, "the same however it is cut: " + refused + " / " + refused_cut);
    const std::string theirs = all_of([&] { return make_foreign_reader(for_foreign); }, foreign_refused);
    TarScanner scanner;
    const std::string unscanned = fuzz::refusal([&] {
        scanner.write(tar);
        scanner.finish();
    });
    if (!refused.empty())
        return 0;
    fuzz::require(unscanned.empty() && !scanner.ambiguous(), "what is read scans: " + unscanned);
    fuzz::require(foreign_refused.empty(), "libarchive reads it: " + foreign_refused);
    if (ours != theirs)
        std::fprintf(stderr, "--- ours\n%s--- libarchive\n%s", ours.c_str(), theirs.c_str());
    fuzz::require(ours == theirs, "libarchive reads the same");
    return 0;
}
