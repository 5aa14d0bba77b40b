// Which node leads to which.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "graph/graph.h"

namespace xflowrl {

// Some nodes and all that they lead to.
std::vector<NodeId> all_below(const Graph& graph, std::span<const NodeId> nodes);
// Some nodes and all that lead to them.
std::vector<NodeId> all_above(const Graph& graph, std::span<const NodeId> nodes);

// Tells for every node which of a few it leads to or can be reached from, in time linear in the
// graph. What reads nothing counts as related to itself alone.
class Relatives {
 public:
  static constexpr size_t kMaxNodes = 64;
  explicit Relatives(const Graph& graph) : graph_(graph) {}

  void look_from(std::span<const NodeId> nodes);  // kMaxNodes at most
  // Is it related to the i-th of those nodes, or that very node?
  bool is_related(NodeId id, size_t i) const { return related_[static_cast<size_t>(id)] >> i & 1; }

 private:
  const Graph& graph_;
  std::vector<uint64_t> related_;  // per slot, bit i for the i-th node
};

// Looks for paths one by one, each among the nodes whose levels lie between its ends.
class PathSearch {
 public:
  explicit PathSearch(const Graph& graph) : graph_(graph) {}

  // Is there a path of one edge or more?
  bool leads(NodeId from, NodeId to);
  // Those of some nodes to which there is none.
  std::vector<NodeId> not_led_to(NodeId from, const std::vector<NodeId>& nodes);
  // How many of the answers needed a search: levels alone do not give them.
  int num_searches() const { return search_; }

 private:
  // Walks down from a node along levels up to `highest`, until it stops at a node: then true.
  template <class Stop>
  bool walk(NodeId from, int64_t highest, const Stop& stops_at);

  const Graph& graph_;
  std::vector<int32_t> seen_in_;  // per slot: the number of the search that came there last
  int32_t search_ = 0;
  std::vector<NodeId> open_;
};

}  // namespace xflowrl
