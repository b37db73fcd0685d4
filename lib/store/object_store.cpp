#include "store/object_store.hpp"

#include "base/file.hpp"

#include <cstring>

namespace zl {

void MemoryBody::read(std::uint64_t offset, std::span<std::byte> buffer) const {
    if (offset > data_.size() || buffer.size() > data_.size() - offset)
        throw Error(ErrorKind::internal, "read beyond the end of a request body");
    std::memcpy(buffer.data(), data_.data() + offset, buffer.size());
}

void FileBody::read(std::uint64_t offset, std::span<std::byte> buffer) const {
    if (offset > size_ || buffer.size() > size_ - offset)
        throw Error(ErrorKind::internal, "read beyond the end of a request body");
    if (pread_full(fd_, buffer, offset_ + offset, name_) != buffer.size())
        throw Error(ErrorKind::io, name_ + ": became shorter while it was read");
}

void ObjectStore::check_writable(const std::string& key) {
    abort_upload(key, create_upload(key, {}));
}

std::optional<std::string> get_text(ObjectStore& store, const std::string& key,
                                    std::size_t max_bytes) {
    std::string text;
    FunctionSink sink([&](Bytes b) {
        if (text.size() + b.size() > max_bytes)
            throw Error(ErrorKind::data, store.describe(key) + ": larger than " +
                                             std::to_string(max_bytes) + " bytes");
        text += as_text(b);
    });
    if (!store.get(key, sink))
        return std::nullopt;
    return text;
}

void put_text(ObjectStore& store, const std::string& key, std::string text,
              std::string content_type) {
    PutOptions options;
    options.content_type = std::move(content_type);
    store.put(key, MemoryBody(std::move(text)), options);
}

} // namespace zl
