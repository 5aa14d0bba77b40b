#include "graph/reachability.h"

#include <bit>
#include <utility>

namespace xflowrl {

Reachability::Reachability(const Graph& graph, bool with_constants)
    : graph_(graph), row_(graph.num_slots(), -1) {
  // Kahn's order; a row is its position.
  const auto is_looked_at = [&](NodeId id) {
    return with_constants || !graph.node(id).is_constant;
  };
  std::vector<int32_t> missing(graph.num_slots(), 0);
  for (size_t i = 0; i < graph.num_slots(); ++i) {
    const auto id = static_cast<NodeId>(i);
    if (!graph.is_live(id) || !is_looked_at(id)) continue;
    for (const TensorRef& t : graph.node(id).inputs)
      missing[i] += t.node != kNoNode && is_looked_at(t.node);
    if (missing[i] == 0) order_.push_back(id);
  }
  for (size_t i = 0; i < order_.size(); ++i) {
    row_[static_cast<size_t>(order_[i])] = static_cast<int32_t>(i);
    for (const Use& use : graph.uses(order_[i])) {
      if (use.node != kNoNode && --missing[static_cast<size_t>(use.node)] == 0)
        order_.push_back(use.node);
    }
  }
  words_ = (order_.size() + 63) / 64;
  below_.assign(order_.size() * words_, 0);
  above_.assign(order_.size() * words_, 0);
  for (size_t i = order_.size(); i-- > 0;) {
    for (const Use& use : graph.uses(order_[i])) {
      if (use.node == kNoNode) continue;
      set(below_, i, row(use.node));
      join(below_, i, row(use.node));
    }
  }
  for (size_t i = 0; i < order_.size(); ++i) {
    for (const TensorRef& t : graph.node(order_[i]).inputs) {
      if (t.node == kNoNode || !is_looked_at(t.node)) continue;
      set(above_, i, row(t.node));
      join(above_, i, row(t.node));
    }
  }
}

const Reachability::Bits& Reachability::rows_of(OpIndex op) {
  Bits& rows = rows_of_[op];
  if (!rows.empty()) return rows;
  rows.assign(words_, 0);
  for (size_t i = 0; i < order_.size(); ++i) {
    if (graph_.node(order_[i]).op == op) rows[i / 64] |= uint64_t{1} << (i % 64);
  }
  return rows;
}

std::vector<NodeId> Reachability::unrelated(NodeId node, OpIndex op) {
  std::vector<NodeId> found;
  const Bits& rows = rows_of(op);
  const size_t i = row(node);
  for (size_t w = 0; w < words_; ++w) {
    uint64_t free = rows[w] & ~(below_[i * words_ + w] | above_[i * words_ + w]);
    if (w == i / 64) free &= ~(uint64_t{1} << (i % 64));
    for (; free; free &= free - 1)
      found.push_back(order_[w * 64 + static_cast<size_t>(std::countr_zero(free))]);
  }
  return found;
}

bool PathSearch::leads(NodeId from, NodeId to) {
  if (graph_.level(from) >= graph_.level(to)) return false;
  seen_in_.resize(graph_.num_slots(), 0);
  ++search_;
  open_ = {from};
  while (!open_.empty()) {
    const NodeId id = open_.back();
    open_.pop_back();
    for (const Use& use : graph_.uses(id)) {
      if (use.node == to) return true;
      if (use.node == kNoNode || graph_.level(use.node) >= graph_.level(to)) continue;
      int32_t& seen_in = seen_in_[static_cast<size_t>(use.node)];
      if (std::exchange(seen_in, search_) != search_) open_.push_back(use.node);
    }
  }
  return false;
}

}  // namespace xflowrl
