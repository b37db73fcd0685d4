#include "wal/keeper.hpp"

namespace zl {
ReplicaKeeper::ReplicaKeeper(ObjectStore&, const ReplicaKeys&, ShipState&, Options, Log&) {}
void ReplicaKeeper::bootstrap() {}
bool ReplicaKeeper::step(std::stop_token) { return false; }
} // namespace zl
