// The key under which the cost of an operator is kept.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cost/work.h"

namespace xflowrl {

// An operator with the types and constness of its operands, apart from any graph.
struct OpSignature {
  Node node;
  std::vector<std::optional<TensorType>> input_types;
  std::vector<char> is_constant;

  std::vector<const TensorType*> types() const;
  NodeWork work() const { return node_work(node, types()); }
  std::string key() const;
};
OpSignature make_signature(const Graph& graph, NodeId id);

}  // namespace xflowrl
