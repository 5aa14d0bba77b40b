// Operators that a runtime computes on integers.
#pragma once

#include <algorithm>
#include <string_view>

#include "graph/graph.h"
#include "rewrite/binding.h"

namespace xflowrl {

// Runtimes compute what stands between DequantizeLinear and QuantizeLinear on integers, in one
// kernel that knows the operator by its form.
inline bool is_quantised(const Graph& graph, NodeId id) {
  const auto is = [&](NodeId other, std::string_view op_type) {
    return other != kNoNode && graph.node(other).op_type() == op_type;
  };
  const Node& node = graph.node(id);
  if (node.is_constant || graph.uses(id).empty()) return false;
  bool from_integers = false;  // an activation, not the weights alone
  for (const TensorRef& t : node.inputs) {
    if (t.node == kNoNode || graph.is_constant(t)) continue;
    if (!is(t.node, "DequantizeLinear")) return false;
    from_integers = true;
  }
  return from_integers && std::ranges::all_of(graph.uses(id), [&](const Use& use) {
           return is(use.node, "QuantizeLinear");
         });
}

inline bool binds_quantised(const Graph& graph, const Binding& binding) {
  bool found = false;
  binding.for_each_node([&](NodeId id) { found = found || is_quantised(graph, id); });
  return found;
}

}  // namespace xflowrl
