// TASO's coarse graph hash (TASO master f11782c, Graph::hash): the sum over nodes of a fold over
// the in-edges. A producer is known by operator and shapes alone, so equal-shaped places collapse.
#pragma once

#include <cstdint>
#include <functional>

#include "graph/graph.h"

namespace xflowrl {

// TASO gives every pool a weight of its own, created just before the pool: one more in-edge.
bool has_pool_weight(const Node& node);
// What a node adds to the hash; node_of(t) is the node that makes tensor t.
using NodeOf = std::function<const Node&(TensorRef)>;
uint64_t taso_contribution(const Node& node, const NodeOf& node_of);
uint64_t taso_hash(const Graph& graph);

}  // namespace xflowrl
