/// Which names are the same file: (dev, ino) of everything that may be linked and has more than one
/// name. The first name in archive order carries the content. Thread-safe.
#pragma once

#include "layer/pack_item.hpp"

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

namespace zl {

class Hardlinks {
public:
    /// Whether the loader of entry @p item should read its content: false if an earlier name of
    /// the same inode was claimed before. A hint that saves reading; find() decides.
    bool claim(const PackItem& item);

    struct First {
        std::string path;
        std::uint64_t toc_index = 0;
    };
    /// The name already in the archive. To be called once per entry, in archive order.
    std::optional<First> find(const FileMeta& meta);
    /// @p item is in the archive at @p toc_index. Forgotten once all nlink names were seen (an
    /// overlay's index has links of its own, so that may never happen).
    void record(const PackItem& item, std::uint64_t toc_index);

private:
    struct Key {
        std::uint64_t dev, ino;
        bool operator==(const Key&) const = default;
    };
    struct Hash {
        std::size_t operator()(const Key& k) const noexcept {
            return static_cast<std::size_t>((k.ino * 0x9E3779B97F4A7C15u) ^ k.dev);
        }
    };
    struct Inode {
        std::uint64_t claimed_by = 0;
        std::shared_ptr<const std::string> prefix; ///< set once recorded
        std::string name;
        std::uint64_t toc_index = 0;
        std::uint32_t names_left = 0;
    };
    std::mutex mutex_;
    std::unordered_map<Key, Inode, Hash> inodes_;
};

} // namespace zl
