#include "graph/reachability.h"

#include <algorithm>
#include <utility>

namespace xflowrl {
namespace {

size_t at(NodeId id) { return static_cast<size_t>(id); }

// The readers and the producers of a node; kNoNode for a graph output or an omitted operand.
struct Below {
  const Graph& graph;
  size_t count(NodeId id) const { return graph.uses(id).size(); }
  NodeId next(NodeId id, size_t k) const { return graph.uses(id)[k].node; }
};
struct Above {
  const Graph& graph;
  size_t count(NodeId id) const { return graph.node(id).inputs.size(); }
  NodeId next(NodeId id, size_t k) const { return graph.node(id).inputs[k].node; }
};

// All that can be reached, none before what leads to it: a depth-first search's nodes, the last
// left first.
template <class Direction>
std::vector<NodeId> reached(const Direction& to, size_t num_slots, std::span<const NodeId> nodes) {
  std::vector<char> seen(num_slots, 0);
  std::vector<NodeId> order;
  std::vector<std::pair<NodeId, size_t>> open;
  const auto enter = [&](NodeId id) {
    if (id != kNoNode && !std::exchange(seen[at(id)], 1)) open.emplace_back(id, to.count(id));
  };
  for (const NodeId id : nodes) {
    enter(id);
    while (!open.empty()) {
      auto& [here, left] = open.back();
      if (left > 0) {
        enter(to.next(here, --left));
      } else {
        order.push_back(here);
        open.pop_back();
      }
    }
  }
  std::reverse(order.begin(), order.end());
  return order;
}

// Passes the marks of every node on to all that it reaches.
template <class Direction>
void spread(const Direction& to, const std::vector<NodeId>& order, std::vector<uint64_t>& marks) {
  for (const NodeId id : order) {
    for (size_t k = 0; k < to.count(id); ++k) {
      const NodeId next = to.next(id, k);
      if (next != kNoNode) marks[at(next)] |= marks[at(id)];
    }
  }
}

}  // namespace

std::vector<NodeId> all_below(const Graph& graph, std::span<const NodeId> nodes) {
  return reached(Below{graph}, graph.num_slots(), nodes);
}

std::vector<NodeId> all_above(const Graph& graph, std::span<const NodeId> nodes) {
  return reached(Above{graph}, graph.num_slots(), nodes);
}

void Relatives::look_from(std::span<const NodeId> nodes) {
  related_.assign(graph_.num_slots(), 0);
  above_.assign(graph_.num_slots(), 0);
  for (size_t i = 0; i < nodes.size(); ++i)
    related_[at(nodes[i])] = above_[at(nodes[i])] = uint64_t{1} << i;
  spread(Below{graph_}, all_below(graph_, nodes), related_);
  spread(Above{graph_}, all_above(graph_, nodes), above_);
  for (size_t i = 0; i < related_.size(); ++i) related_[i] |= above_[i];
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
      if (std::exchange(seen_in_[at(use.node)], search_) != search_) open_.push_back(use.node);
    }
  }
  return false;
}

std::vector<NodeId> PathSearch::not_led_to(NodeId from, const std::vector<NodeId>& nodes) {
  int64_t highest = graph_.level(from);
  for (const NodeId id : nodes) highest = std::max(highest, graph_.level(id));
  seen_in_.resize(graph_.num_slots(), 0);
  ++search_;
  open_ = {from};
  while (!open_.empty()) {
    const NodeId id = open_.back();
    open_.pop_back();
    for (const Use& use : graph_.uses(id)) {
      if (use.node == kNoNode || graph_.level(use.node) > highest) continue;
      if (std::exchange(seen_in_[at(use.node)], search_) != search_) open_.push_back(use.node);
    }
  }
  std::vector<NodeId> others;
  for (const NodeId id : nodes) {
    if (seen_in_[at(id)] != search_) others.push_back(id);
  }
  return others;
}

}  // namespace xflowrl
