#include "search/same_place.h"

#include <algorithm>

namespace xflowrl {

bool are_there(const Binding& binding, const Graph& before, const Graph& graph) {
  bool all = true;
  binding.for_each_node([&](NodeId id) {
    all = all && static_cast<size_t>(id) < graph.num_slots() && graph.is_live(id) &&
          graph.node(id).created == before.node(id).created;
  });
  return all;
}

bool has_same_nodes(const Binding& a, const Binding& b) {
  return a.nodes == b.nodes && a.each_nodes == b.each_nodes;
}

bool has_same_names(const Binding& a, const Graph& before, const Binding& b, const Graph& graph) {
  const auto equal = [&](TensorRef s, TensorRef t) {
    if (s.node == kNoNode || t.node == kNoNode) return s.node == t.node;
    return before.output(s).name == graph.output(t).name;
  };
  return std::ranges::equal(a.tensors, b.tensors, equal) &&
         std::ranges::equal(a.sequences, b.sequences, [&](const auto& s, const auto& t) {
           return std::ranges::equal(s, t, equal);
         });
}

}  // namespace xflowrl
