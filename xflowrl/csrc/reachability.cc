#include "reachability.h"

namespace xflowrl {

Reachability::Reachability(const Graph& graph) : row_(graph.num_slots(), -1) {
  // Kahn's order over the computed nodes; a row is its position.
  std::vector<int32_t> missing(graph.num_slots(), 0);
  std::vector<NodeId> order;
  for (size_t i = 0; i < graph.num_slots(); ++i) {
    const auto id = static_cast<NodeId>(i);
    if (!graph.is_live(id) || graph.node(id).is_constant) continue;
    for (const TensorRef& t : graph.node(id).inputs)
      missing[i] += t.node != kNoNode && !graph.is_constant(t);
    if (missing[i] == 0) order.push_back(id);
  }
  for (size_t i = 0; i < order.size(); ++i) {
    row_[static_cast<size_t>(order[i])] = static_cast<int32_t>(i);
    for (const Use& use : graph.uses(order[i])) {
      if (use.node != kNoNode && --missing[static_cast<size_t>(use.node)] == 0)
        order.push_back(use.node);
    }
  }
  words_ = (order.size() + 63) / 64;
  bits_.assign(order.size() * words_, 0);
  for (size_t i = order.size(); i-- > 0;) {
    uint64_t* row = &bits_[i * words_];
    for (const Use& use : graph.uses(order[i])) {
      if (use.node == kNoNode) continue;
      const auto r = static_cast<size_t>(row_[static_cast<size_t>(use.node)]);
      row[r / 64] |= uint64_t{1} << (r % 64);
      // Descendants come later in the order.
      for (size_t w = r / 64; w < words_; ++w) row[w] |= bits_[r * words_ + w];
    }
  }
}

}  // namespace xflowrl
