#include "store/range_reader.hpp"

#include "base/error.hpp"
#include "base/thread_pool.hpp"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

namespace zl {

namespace {

/// One range on its way: the reader may take what has arrived while the rest still comes.
struct Slot {
    std::unique_ptr<std::byte[]> data;
    std::size_t capacity = 0;
    std::size_t size = 0;   ///< of the range
    std::size_t filled = 0; ///< arrived so far
};

} // namespace

struct RangeReader::Impl {
    Impl(ObjectStore& s, const ObjectInfo& o, ByteRange r, Options opt, Progress& p)
        : store(s), object(o), range(r), options(opt), progress(p),
          count((r.length + opt.part_size - 1) / opt.part_size) {
        auto workers = std::min<std::uint64_t>(static_cast<std::uint64_t>(opt.jobs), count);
        if (workers == 0)
            return;
        pool.add([this] { work(); });
        pool.add_up_to(workers - 1, [this] { work(); });
    }

    void stop() {
        std::lock_guard lock(mutex);
        stopping = true;
        changed.notify_all();
    }

    std::uint64_t size_of(std::uint64_t index) const {
        return std::min(options.part_size, range.length - index * options.part_size);
    }

    /// The next range to fetch, with a buffer for it; null when there is none. At most `jobs`
    /// buffers exist, and they are given out in order, so the one the reader waits for always has
    /// one.
    std::shared_ptr<Slot> claim(std::uint64_t& index) {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] {
            return stopping || next == count ||
                   next < reading + static_cast<std::uint64_t>(options.jobs);
        });
        if (stopping || next == count)
            return nullptr;
        index = next++;
        std::shared_ptr<Slot> slot;
        if (free.empty()) {
            slot = std::make_shared<Slot>();
        } else {
            slot = std::move(free.back());
            free.pop_back();
        }
        slot->size = static_cast<std::size_t>(size_of(index));
        slot->filled = 0;
        slots[index] = slot;
        return slot;
    }

    void work() noexcept {
        try {
            std::uint64_t index = 0;
            while (auto slot = claim(index)) {
                if (slot->capacity < slot->size) {
                    slot->data = std::make_unique_for_overwrite<std::byte[]>(slot->size);
                    slot->capacity = slot->size;
                }
                fetch(*slot, index);
            }
        } catch (...) {
            std::lock_guard lock(mutex);
            if (!error)
                error = std::current_exception();
            stopping = true;
            changed.notify_all();
        }
    }

    /// One range into its slot.
    struct SlotSink final : Sink {
        SlotSink(Impl& reader, Slot& to) : impl(reader), slot(to), size(to.size) {}
        void write(Bytes b) override {
            if (b.size() > size - filled)
                throw Error(ErrorKind::data,
                            impl.store.describe(impl.object.key) + ": more bytes than asked");
            std::memcpy(slot.data.get() + filled, b.data(), b.size());
            filled += b.size();
            std::lock_guard lock(impl.mutex);
            if (impl.stopping)
                throw Interrupted();
            slot.filled = filled;
            impl.progress.advance(static_cast<std::int64_t>(b.size()));
            impl.changed.notify_all();
        }
        bool prompt() const override { return true; }
        Impl& impl;
        Slot& slot;
        // Once the last byte is marked as filled the reader may hand the slot to another worker:
        // what this range is about is kept here.
        const std::size_t size;
        std::size_t filled = 0;
    };

    void fetch(Slot& slot, std::uint64_t index) {
        SlotSink sink(*this, slot);
        GetOptions get;
        get.range = ByteRange{range.offset + index * options.part_size, sink.size};
        get.if_match = object.etag;
        if (!store.get(object.key, sink, get))
            throw Error(ErrorKind::conflict, store.describe(object.key) + ": vanished meanwhile");
        if (sink.filled != sink.size)
            throw Error(ErrorKind::transient, store.describe(object.key) + ": range cut short");
    }

    Bytes available() {
        std::unique_lock lock(mutex);
        if (reading == count)
            return {};
        changed.wait(lock, [&] {
            auto it = slots.find(reading);
            return error || (it != slots.end() && it->second->filled > taken);
        });
        auto it = slots.find(reading);
        // What arrived in order before an error is still good.
        if (it == slots.end() || it->second->filled == taken)
            std::rethrow_exception(error);
        return {it->second->data.get() + taken, it->second->filled - taken};
    }

    void consume(std::size_t n) {
        std::lock_guard lock(mutex);
        taken += n;
        auto it = slots.find(reading);
        if (taken < it->second->size)
            return;
        free.push_back(std::move(it->second));
        slots.erase(it);
        ++reading;
        taken = 0;
        changed.notify_all();
    }

    ObjectStore& store;
    const ObjectInfo object;
    const ByteRange range;
    const Options options;
    Progress& progress;
    const std::uint64_t count;

    std::mutex mutex;
    std::condition_variable changed;
    std::map<std::uint64_t, std::shared_ptr<Slot>> slots; ///< fetched or being fetched
    std::vector<std::shared_ptr<Slot>> free;
    std::uint64_t next = 0;    ///< index to claim
    std::uint64_t reading = 0; ///< index the reader is at
    std::size_t taken = 0;     ///< bytes of it
    bool stopping = false;
    std::exception_ptr error;
    ThreadPool pool{[this] { stop(); }};
};

RangeReader::RangeReader(ObjectStore& store, const ObjectInfo& object, ByteRange range,
                         Options options, Progress& progress)
    : impl_(std::make_unique<Impl>(store, object, range, options, progress)) {}
RangeReader::~RangeReader() = default;

Bytes RangeReader::available() {
    return impl_->available();
}
void RangeReader::consume(std::size_t n) {
    impl_->consume(n);
}

std::size_t RangeReader::read(std::span<std::byte> buffer) {
    Bytes bytes = impl_->available();
    std::size_t n = std::min(buffer.size(), bytes.size());
    if (n) {
        std::memcpy(buffer.data(), bytes.data(), n);
        impl_->consume(n);
    }
    return n;
}

} // namespace zl
