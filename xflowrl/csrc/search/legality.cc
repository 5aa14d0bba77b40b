#include "search/legality.h"

#include <algorithm>

namespace xflowrl {
namespace {

size_t at(int64_t i) { return static_cast<size_t>(i); }

}  // namespace

bool is_legal(const Graph& graph, const Rule& rule, const Binding& binding, bool with_constants,
              PathSearch& paths) {
  const auto is_apart = [&](NodeId from, TensorRef to) {
    return to.node == kNoNode || (graph.is_constant(to) && !with_constants) ||
           !paths.leads(from, to.node);
  };
  const auto is_clear = [&](NodeId from, const OperandPattern& variable) {
    if (graph.node(from).is_constant && !with_constants) return true;
    if (variable.kind != OperandPattern::Kind::kSequence)
      return is_apart(from, binding.tensors[at(variable.var)]);
    return std::ranges::all_of(binding.sequences[at(variable.var)],
                               [&](TensorRef t) { return is_apart(from, t); });
  };
  return std::ranges::all_of(rule.crossings, [&](const Crossing& crossing) {
    const NodeId node = binding.nodes[at(crossing.node)];
    return (node == kNoNode || is_clear(node, crossing.variable)) &&
           std::ranges::all_of(binding.each_nodes[at(crossing.node)],
                               [&](NodeId id) { return is_clear(id, crossing.variable); });
  });
}

bool may_concern(const PathChange& change, const Binding& binding) {
  bool begins = false, ends = false;
  binding.for_each_node([&](NodeId id) { begins = begins || change.is_above(id); });
  if (begins) binding.for_each_tensor([&](TensorRef t) { ends = ends || change.is_below(t.node); });
  return begins && ends;
}

}  // namespace xflowrl
