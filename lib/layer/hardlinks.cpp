#include "layer/hardlinks.hpp"

#include <algorithm>

namespace zl {

bool Hardlinks::claim(const PackItem& item) {
    std::lock_guard lock(mutex_);
    const auto [it, is_new] = inodes_.try_emplace({item.meta.dev, item.meta.ino});
    Inode& inode = it->second;
    if (!is_new && inode.claimed_by < item.sequence)
        return false;
    inode.claimed_by = item.sequence;
    return true;
}

std::optional<Hardlinks::First> Hardlinks::find(const FileMeta& meta) {
    std::lock_guard lock(mutex_);
    const auto it = inodes_.find({meta.dev, meta.ino});
    if (it == inodes_.end() || !it->second.prefix)
        return std::nullopt;
    First first{*it->second.prefix + it->second.name, it->second.toc_index};
    if (--it->second.names_left == 0)
        inodes_.erase(it);
    return first;
}

void Hardlinks::record(const PackItem& item, std::uint64_t toc_index) {
    std::lock_guard lock(mutex_);
    Inode& inode = inodes_[{item.meta.dev, item.meta.ino}];
    inode.claimed_by = std::min(inode.claimed_by, item.sequence);
    inode.prefix = item.prefix;
    inode.name = item.name;
    inode.toc_index = toc_index;
    inode.names_left = item.meta.nlink - 1;
    if (inode.names_left == 0)
        inodes_.erase({item.meta.dev, item.meta.ino});
}

} // namespace zl
