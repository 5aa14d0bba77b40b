// How the source of a rule lies in one graph.
#pragma once

#include <span>
#include <vector>

#include "graph/graph.h"
#include "rule/rule.h"

namespace xflowrl {

struct Binding {
  std::vector<TensorRef> tensors;  // per tensor or optional variable; absent: node == kNoNode
  std::vector<std::vector<TensorRef>> sequences;
  std::vector<AttrValue> attributes;
  std::vector<AttrsPtr> attribute_sets;
  std::vector<NodeId> nodes;                    // per source node; kNoNode for an `each` node
  std::vector<std::vector<NodeId>> each_nodes;  // per source node; empty unless it is an `each`

  // The graph nodes of source node i: several for an `each`.
  std::span<const NodeId> nodes_of(size_t i) const {
    return nodes[i] == kNoNode ? std::span(each_nodes[i]) : std::span(&nodes[i], 1);
  }
  // Calls f for every matched node.
  template <class F>
  void for_each_node(F&& f) const {
    for (size_t i = 0; i < nodes.size(); ++i) {
      for (NodeId id : nodes_of(i)) f(id);
    }
  }
  // Calls f for every tensor a variable is bound to.
  template <class F>
  void for_each_tensor(F&& f) const {
    for (const TensorRef& t : tensors) {
      if (t.node != kNoNode) f(t);
    }
    for (const auto& sequence : sequences) {
      for (const TensorRef& t : sequence) f(t);
    }
  }
};

}  // namespace xflowrl
