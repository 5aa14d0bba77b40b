// Between which nodes a rewrite makes or breaks paths, found from what it touched alone.
#pragma once

#include <utility>
#include <vector>

#include "graph/graph.h"

namespace xflowrl {

// Pairs of nodes that both graphs have, of which the first leads to the second in `graph` but not
// in `other`. Where there are other such pairs, `graph` leads from the one to the other through one
// of these. `touched`: the nodes, of either graph, in which they differ. Among constants paths are
// looked for if asked to.
std::vector<std::pair<NodeId, NodeId>> missing_paths(const Graph& graph, const Graph& other,
                                                     const std::vector<NodeId>& touched,
                                                     bool with_constants);

// Which nodes have a path from the one to the other in one of two graphs alone, or may have.
class PathChange {
 public:
  // By those given, as `missing_paths` returns them; `graph` is either of its two.
  PathChange(const Graph& graph, const std::vector<std::pair<NodeId, NodeId>>& paths);

  bool is_none() const { return above_.empty(); }
  // The beginnings of such paths and their ends; each may be both.
  const std::vector<NodeId>& above() const { return above_; }
  const std::vector<NodeId>& below() const { return below_; }
  bool is_above(NodeId id) const { return is_above_[static_cast<size_t>(id)] != 0; }
  bool is_below(NodeId id) const { return is_below_[static_cast<size_t>(id)] != 0; }

 private:
  std::vector<NodeId> above_, below_;
  std::vector<char> is_above_, is_below_;  // per slot; empty if there are none
};

}  // namespace xflowrl
