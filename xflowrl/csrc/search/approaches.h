// Where to look for the matches that bind some nodes.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "graph/graph.h"
#include "rule/rule.h"

namespace xflowrl {

// The node where to begin a part of a rule's source, and the pattern node that it plays.
struct Anchor {
  NodeId node;
  int rule, entry;
};

// The ways from any node of rules' sources to where their parts begin, as trees: what ways have in
// common is gone once.
class Approaches {
 public:
  // Rules are added in order.
  void add(int index, const Rule& rule);
  // Every match that binds one of these nodes has its anchor among those returned, which are
  // ordered by node, rule and entry.
  std::vector<Anchor> anchors_near(const Graph& graph, const std::vector<NodeId>& nodes) const;

 private:
  using Beginnings = std::vector<uint64_t>;  // a bit each; words of those added later are left out
  struct Approach {
    Move move;            // that leads here
    Beginnings leads_to;  // that are here
    std::vector<Approach> next;
  };
  using Arrival = std::pair<NodeId, const Beginnings*>;
  static void follow(const Graph& graph, const Approach& approach,
                     const std::vector<NodeId>& places, std::vector<Arrival>& arrivals);

  std::vector<Approach> by_operator_;            // of the node from which to go; moves are unused
  std::vector<std::pair<int, int>> beginnings_;  // rule and entry, in order
};

}  // namespace xflowrl
