/// A snapshot on its way to the store: streamed, never staged whole.
///
/// States and what a kill leaves
///   uploading  a multipart upload, its id in the state (aborted at the next start). A kill between
///              its creation and that row leaves an upload that nobody knows: the store's lifecycle
///              rule or zl-prune ends it
///   stored     the object is there; no metadata names it: a restore may use it all the same, as it
///              proves itself
///   named      metadata.json names it
#pragma once

#include "base/report.hpp"
#include "store/object_store.hpp"
#include "wal/ship_state.hpp"
#include "wal/snapshot.hpp"

#include <exception>
#include <string>

namespace zl {

class SnapshotDiffers : public std::exception {
public:
    const char* what() const noexcept override {
        return "the database file differs from what was captured";
    }
};

struct SnapshotUpload {
    ObjectStore& store;
    const ReplicaKeys& keys;
    ShipState& state;
    int level = 3;
    int jobs = 2;

    /// Sends @p pages, whose checksum must be @p expected: otherwise SnapshotDiffers (the database
    /// on this disk is not what was captured of it) and nothing is stored. @p header.created_at
    /// gives the key. Returns what was stored; it is in the catalogue.
    CatalogueEntry run(PageSource& pages, SnapshotHeader& header, DbChecksum expected);
};

/// End uploads that an earlier run left.
void abort_open_uploads(ObjectStore& store, ShipState& state, Log& log);

} // namespace zl
