// TASO's coarse graph hash (TASO master f11782c, Graph::hash): the sum over nodes of a fold over
// the in-edges. A producer is known by operator and shapes alone, so equal-shaped places collapse.
#pragma once

#include <cstdint>
#include <vector>

#include "graph.h"

namespace xflowrl {

struct TasoEdge {
  int32_t created;  // creation number of the producer
  uint64_t key;     // of the producer
  int source_index, operand;
};

// One number per operator, attributes and operand types; leaves by kind and type.
uint64_t taso_key(const Node& node, OperandTypes inputs);
uint64_t taso_fold(uint64_t key, bool is_leaf, std::vector<TasoEdge>& edges);
uint64_t taso_contribution(const Graph& graph, const Node& node);
uint64_t taso_hash(const Graph& graph);

}  // namespace xflowrl
