/// Keeps a directory store to the directory that it began with. When a disk is unmounted, what is
/// below its mount point looks like an empty store: a shipper would go on there and say that all is
/// well, and whatever was only there is lost to those who restore from the disk.
///
/// The directory is known by device and inode, and by the random id in its file `.zl-store`, which
/// the first write makes. With the same id it is the same store: mounted again, or moved to a
/// larger disk with `cp -a`. Where no id can be written, the device alone is compared.
#pragma once

#include "store/object_store.hpp"

#include <memory>
#include <string>

namespace zl {

/// @p store, whose methods throw transient while the directory @p root is not the one of the first
/// call, or is gone: before anything is written, and also when it became so meanwhile. A directory
/// that is not there at first is made by the first write.
std::unique_ptr<ObjectStore> keep_to_root(std::unique_ptr<ObjectStore> store, std::string root);

} // namespace zl
