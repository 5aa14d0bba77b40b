// The replaced and the replacing tensors of a rule at one place of a graph.
#pragma once

#include "rewrite/binding.h"
#include "rewrite/evaluate.h"

namespace xflowrl {

// The tensors that a source or target list stands for. `nodes_of(i)`: the graph nodes of pattern
// node i (several for an `each`); `num_outputs_of(id)`: of such a graph node. Returns false if a
// range or index has no value.
template <class NodesOf, class NumOutputsOf>
bool list_tensors(const Pattern& pattern, const Graph& graph, const Binding& binding,
                  const NodesOf& nodes_of, const NumOutputsOf& num_outputs_of,
                  std::vector<TensorRef>& tensors) {
  const auto at = [](int i) { return static_cast<size_t>(i); };
  tensors.reserve(pattern.tensors.size());
  const auto number = [&](const Expr& expr, int64_t& out) {
    AttrValue value;
    if (!evaluate(expr, graph, binding, value)) return false;
    const int64_t* i = std::get_if<int64_t>(&value);
    return i && (out = *i, true);
  };
  for (const TensorItem& item : pattern.tensors) {
    const OperandPattern& o = item.operand;
    switch (o.kind) {
      case OperandPattern::Kind::kTensor:
        tensors.push_back(binding.tensors[at(o.var)]);
        continue;
      case OperandPattern::Kind::kSequence:
        tensors.insert(tensors.end(), binding.sequences[at(o.var)].begin(),
                       binding.sequences[at(o.var)].end());
        continue;
      case OperandPattern::Kind::kNode:
        break;
      default:
        return false;
    }
    const std::span<const NodeId> ids = nodes_of(at(o.node));
    if (pattern.nodes[at(o.node)].is_each) {
      for (NodeId id : ids) tensors.push_back({id, 0});
      continue;
    }
    int64_t from = o.output.number, to = 0;
    if (o.output.attr_var >= 0) {
      const int64_t* i = std::get_if<int64_t>(&binding.attributes[at(o.output.attr_var)]);
      if (!i) return false;
      from = *i;
    }
    const auto count = static_cast<int64_t>(num_outputs_of(ids[0]));
    if (item.is_range) {
      from = 0;
      if (item.from.kind != Expr::Kind::kNone && !number(item.from, from)) return false;
    }
    to = item.is_range ? count : from + 1;
    if (item.is_range && item.to.kind != Expr::Kind::kNone && !number(item.to, to)) return false;
    if (from < 0 || to > count || from > to) return false;
    for (int64_t k = from; k < to; ++k) tensors.push_back({ids[0], static_cast<int32_t>(k)});
  }
  return true;
}

}  // namespace xflowrl
