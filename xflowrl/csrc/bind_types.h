// Views of engine data that exist for Python alone.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "graph.h"
#include "work.h"

namespace xflowrl {

// A node together with the graph that keeps it alive.
struct NodeView {
  std::shared_ptr<const Graph> graph;
  NodeId id;
  const Node& node() const { return graph->node(id); }
};

// An operator with the types and constness of its operands, apart from any graph.
struct OpSignature {
  Node node;
  std::vector<std::optional<TensorType>> input_types;
  std::vector<char> is_constant;

  std::vector<const TensorType*> types() const {
    std::vector<const TensorType*> pointers;
    for (const auto& type : input_types) pointers.push_back(type ? &*type : nullptr);
    return pointers;
  }
  NodeWork work() const { return node_work(node, types()); }
  std::string key() const {
    const std::unique_ptr<bool[]> flags = std::make_unique<bool[]>(is_constant.size());
    for (size_t i = 0; i < is_constant.size(); ++i) flags[i] = is_constant[i] != 0;
    return signature_text(node, types(), {flags.get(), is_constant.size()});
  }
};

OpSignature make_signature(const Graph& graph, NodeId id);

}  // namespace xflowrl
