// TASO's coarse graph hash (TASO master f11782c, Graph::hash): the sum over nodes of a fold over
// the in-edges. A producer is known by operator and shapes alone, so equal-shaped places collapse.
#pragma once

#include <cstdint>
#include <vector>

#include "graph/graph.h"

namespace xflowrl {

struct TasoEdge {
  int64_t created;  // twice the creation number of the producer
  uint64_t key;     // of the producer
  int source_index, operand;
};

// One number per operator, attributes and operand types; a leaf is itself alone.
uint64_t taso_key(const Node& node, OperandTypes inputs);
// TASO gives every pool a weight of its own, created just before the pool: one more in-edge.
bool has_pool_weight(const Node& node);
uint64_t taso_fold(const Node& node, uint64_t key, std::vector<TasoEdge>& edges);
uint64_t taso_contribution(const Graph& graph, const Node& node);
uint64_t taso_hash(const Graph& graph);

}  // namespace xflowrl
