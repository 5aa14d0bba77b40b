// Operators that a runtime computes on integers.
#pragma once

#include <algorithm>
#include <string_view>

#include "graph/graph.h"
#include "rewrite/binding.h"

namespace xflowrl {

// Runtimes compute what stands between DequantizeLinear and QuantizeLinear on integers, in one
// kernel that knows the operator by its form. An activation behind it is part of the rounding.
inline bool is_activation(const Graph& graph, NodeId id) {
  const std::string_view op_type = graph.node(id).op_type();
  return op_type == "Relu" || op_type == "Clip";
}

inline bool is_rounded(const Graph& graph, NodeId id) {
  return !graph.uses(id).empty() && std::ranges::all_of(graph.uses(id), [&](const Use& use) {
    if (use.node == kNoNode) return false;
    return graph.node(use.node).op_type() == "QuantizeLinear" ||
           (is_activation(graph, use.node) && is_rounded(graph, use.node));
  });
}

inline bool is_quantised(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  if (node.is_constant || !is_rounded(graph, id)) return false;
  bool from_integers = false;  // an activation, not the weights alone
  for (const TensorRef& t : node.inputs) {
    if (t.node == kNoNode || graph.is_constant(t)) continue;
    const bool is_dequantised = graph.node(t.node).op_type() == "DequantizeLinear";
    if (!is_dequantised && !(is_activation(graph, id) && is_quantised(graph, t.node))) return false;
    from_integers = true;
  }
  return from_integers;
}

inline bool binds_quantised(const Graph& graph, const Binding& binding) {
  bool found = false;
  binding.for_each_node([&](NodeId id) { found = found || is_quantised(graph, id); });
  return found;
}

}  // namespace xflowrl
