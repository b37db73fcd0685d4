#include "store/local_uploads.hpp"

#include "base/random.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <tuple>

namespace zl::local {

namespace {

/// Of `00001.part`.
std::optional<int> part_number(std::string_view name) {
    int n = 0;
    if (name.size() != 10 || !name.ends_with(".part") || name.find_first_not_of("0123456789") != 5)
        return std::nullopt;
    std::from_chars(name.data(), name.data() + 5, n);
    return n >= 1 && n <= 10000 ? std::optional(n) : std::nullopt;
}

bool valid_id(const std::string& id) {
    return id.size() == 32 && id.find_first_not_of("0123456789abcdef") == std::string::npos;
}

} // namespace

Uploads::Uploads(const std::string& root, std::stop_token stop)
    : dir_(root + "/.zl-uploads"), stop_(std::move(stop)) {}

std::string Uploads::part_path(const std::string& id, int number) const {
    if (number < 1 || number > 10000)
        throw Error(ErrorKind::usage,
                    "part number " + std::to_string(number) + ": 1 to 10000 are possible");
    char name[16];
    std::snprintf(name, sizeof name, "%05d.part", number);
    return dir_of(id) + "/" + name;
}

Json Uploads::find(const std::string& key, const std::string& id) const {
    auto text = valid_id(id) ? read_file(description(id)) : std::nullopt;
    if (text)
        if (Json j = parse_or_null(*text); text_in(j, "key") == key)
            return j;
    throw Error(ErrorKind::gone, "upload " + id + " of " + key + " does not exist");
}

std::string Uploads::create(const std::string& key, const ObjectMeta& meta) {
    const std::string id = random_hex(32);
    Json j;
    j["key"] = key;
    j["meta"] = meta;
    return with_parent(description(id), [&] {
        AtomicFile file(description(id));
        file.write(dump_json(j));
        file.commit();
        return id;
    });
}

ObjectMeta Uploads::meta(const std::string& key, const std::string& id) const {
    return meta_in(find(key, id));
}

std::string Uploads::put_part(const std::string& key, const std::string& id, int number,
                              const Body& body, const std::function<void(std::int64_t)>& on_bytes) {
    find(key, id);
    AtomicFile file(part_path(id, number));
    FunctionSink sink([&](Bytes b) { file.write(b); });
    copy(body, sink, on_bytes, stop_);
    struct stat st;
    if (::fstat(file.fd(), &st) != 0)
        throw sys_error("stat part");
    file.commit();
    return etag_of(st);
}

std::vector<PartInfo> Uploads::parts(const std::string& key, const std::string& id) const {
    find(key, id);
    std::vector<PartInfo> parts;
    for (const Name& n : names(dir_of(id))) {
        if (auto number = part_number(n.text))
            parts.push_back(
                {*number, static_cast<std::uint64_t>(n.st.st_size), etag_of(n.st), time_of(n.st)});
    }
    return parts;
}

void Uploads::write_parts(const std::string& key, const std::string& id,
                          const std::vector<PartInfo>& chosen, Sink& sink) const {
    const std::vector<PartInfo> have = parts(key, id);
    int previous = 0;
    for (const PartInfo& p : chosen) {
        auto found = std::find_if(have.begin(), have.end(),
                                  [&](const PartInfo& h) { return h.number == p.number; });
        if (p.number <= previous || found == have.end() || found->etag != p.etag)
            throw Error(ErrorKind::data, "upload of " + key + ": part " + std::to_string(p.number) +
                                             " is not the one that was stored");
        previous = p.number;
        UniqueFd fd = open_file(part_path(id, p.number), O_RDONLY);
        copy(FileBody(fd.get(), 0, found->size, part_path(id, p.number)), sink, {}, stop_);
    }
}

void Uploads::remove(const std::string& id) {
    if (!valid_id(id))
        return;
    // upload.json first: without it the upload is gone, whatever a crash leaves of the parts.
    ::unlink(description(id).c_str());
    for (const Name& n : names(dir_of(id), true))
        ::unlink((dir_of(id) + "/" + n.text).c_str());
    ::rmdir(dir_of(id).c_str());
}

std::vector<UploadInfo> Uploads::list(const std::string& prefix) const {
    std::vector<UploadInfo> out;
    for (const Name& n : names(dir_)) {
        const std::string id = n.text.substr(0, n.text.size() - 1);
        const std::string file = description(id);
        struct stat st;
        auto text = read_file(file);
        if (!text)
            continue;
        if (::stat(file.c_str(), &st) != 0) {
            if (errno == ENOENT)
                continue;
            throw failed("stat " + file, file);
        }
        if (auto key = text_in(parse_or_null(*text), "key"); key && key->starts_with(prefix))
            out.push_back({*key, id, time_of(st)});
    }
    std::sort(out.begin(), out.end(), [](const UploadInfo& a, const UploadInfo& b) {
        return std::tie(a.key, a.upload_id) < std::tie(b.key, b.upload_id);
    });
    return out;
}

} // namespace zl::local
