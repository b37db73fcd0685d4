/// Bytes of an object, fetched as parallel ranges, delivered in order, in bounded memory.
#pragma once

#include "base/report.hpp"
#include "store/object_store.hpp"

#include <memory>
#include <stop_token>

namespace zl {

/// A Source over [offset, offset + length) of one object. Every range is asked with If-Match, so
/// all bytes are of the same version (Error conflict otherwise). Memory: jobs x part_size.
class RangeReader final : public Source {
public:
    struct Options {
        int jobs = 4;
        std::uint64_t part_size = 16 << 20;
    };
    RangeReader(ObjectStore& store, const ObjectInfo& object, ByteRange range, Options options,
                Progress& progress);
    ~RangeReader() override; ///< waits for ranges under way

    std::size_t read(std::span<std::byte> buffer) override;
    /// Without a copy: the next bytes in order (at least one; none = end), valid until they are
    /// consumed.
    Bytes available();
    void consume(std::size_t n); ///< at most what available() gave

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace zl
