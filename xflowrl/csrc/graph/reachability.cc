#include "graph/reachability.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace xflowrl {
namespace {

size_t at(NodeId id) { return static_cast<size_t>(id); }

// What reads a node, and what it reads. What is nearer is before what is farther, by rank.
struct Below {
  const Graph& graph;
  std::span<const Use> next(NodeId id) const { return graph.uses(id); }
  bool enters(NodeId id) const { return id != kNoNode; }
  int64_t rank(NodeId id) const { return graph.level(id); }
};
struct Above {
  const Graph& graph;
  std::span<const TensorRef> next(NodeId id) const { return graph.node(id).inputs; }
  bool enters(NodeId id) const { return id != kNoNode; }
  int64_t rank(NodeId id) const { return -graph.level(id); }
};
struct AboveButLeaves : Above {
  bool enters(NodeId id) const { return id != kNoNode && graph.level(id) > 0; }
};

template <class Direction>
std::vector<NodeId> reached(const Direction& to, std::span<const NodeId> nodes) {
  std::vector<char> seen(to.graph.num_slots(), 0);
  std::vector<NodeId> found;
  const auto enter = [&](NodeId id) {
    if (to.enters(id) && !std::exchange(seen[at(id)], 1)) found.push_back(id);
  };
  std::ranges::for_each(nodes, enter);
  for (size_t i = 0; i < found.size(); ++i) {
    for (const auto& next : to.next(found[i])) enter(next.node);
  }
  return found;
}

// Marks the i-th of some nodes and all that it reaches by bit i.
template <class Direction>
void mark(const Direction& to, std::span<const NodeId> nodes, std::vector<uint64_t>& marks) {
  std::vector<uint64_t> found(to.graph.num_slots(), 0);
  std::vector<std::pair<int64_t, NodeId>> open;  // a heap, the nearest first
  const auto enter = [&](NodeId id, uint64_t bits) {
    if (std::exchange(found[at(id)], found[at(id)] | bits) != 0) return;
    open.emplace_back(to.rank(id), id);
    std::push_heap(open.begin(), open.end(), std::greater<>());
  };
  for (size_t i = 0; i < nodes.size(); ++i) enter(nodes[i], uint64_t{1} << i);
  while (!open.empty()) {
    std::pop_heap(open.begin(), open.end(), std::greater<>());
    const NodeId id = open.back().second;
    open.pop_back();
    // All that leads here was nearer, so no more bits will come.
    marks[at(id)] |= found[at(id)];
    for (const auto& next : to.next(id)) {
      if (to.enters(next.node)) enter(next.node, found[at(id)]);
    }
  }
}

}  // namespace

std::vector<NodeId> all_below(const Graph& graph, std::span<const NodeId> nodes) {
  return reached(Below{graph}, nodes);
}

std::vector<NodeId> all_above(const Graph& graph, std::span<const NodeId> nodes) {
  return reached(Above{graph}, nodes);
}

void Relatives::look_from(std::span<const NodeId> nodes) {
  related_.assign(graph_.num_slots(), 0);
  mark(Below{graph_}, nodes, related_);
  mark(AboveButLeaves{{graph_}}, nodes, related_);
}

template <class Stop>
bool PathSearch::walk(NodeId from, int64_t highest, const Stop& stops_at) {
  seen_in_.resize(graph_.num_slots(), 0);
  ++search_;
  open_ = {from};
  while (!open_.empty()) {
    const NodeId id = open_.back();
    open_.pop_back();
    for (const Use& use : graph_.uses(id)) {
      if (stops_at(use.node)) return true;
      if (use.node == kNoNode || graph_.level(use.node) > highest) continue;
      if (std::exchange(seen_in_[at(use.node)], search_) != search_) open_.push_back(use.node);
    }
  }
  return false;
}

bool PathSearch::leads(NodeId from, NodeId to) {
  if (graph_.level(from) >= graph_.level(to)) return false;
  return walk(from, graph_.level(to) - 1, [to](NodeId id) { return id == to; });
}

std::vector<NodeId> PathSearch::not_led_to(NodeId from, const std::vector<NodeId>& nodes) {
  int64_t highest = graph_.level(from);
  for (const NodeId id : nodes) highest = std::max(highest, graph_.level(id));
  walk(from, highest, [](NodeId) { return false; });
  std::vector<NodeId> others;
  for (const NodeId id : nodes) {
    if (seen_in_[at(id)] != search_) others.push_back(id);
  }
  return others;
}

}  // namespace xflowrl
