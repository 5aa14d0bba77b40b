#include "graph/path_changes.h"

#include <algorithm>

#include "graph/reachability.h"

namespace xflowrl {
namespace {

size_t at(int64_t i) { return static_cast<size_t>(i); }

// Is the node of this slot of one graph the same in the other?
bool is_in_both(const Graph& graph, const Graph& other, NodeId id) {
  return at(id) < graph.num_slots() && at(id) < other.num_slots() && graph.is_live(id) &&
         other.is_live(id) && graph.node(id).created == other.node(id).created;
}

}  // namespace

std::vector<std::pair<NodeId, NodeId>> missing_paths(const Graph& graph, const Graph& other,
                                                     const std::vector<NodeId>& touched,
                                                     bool with_constants) {
  std::vector<std::pair<NodeId, NodeId>> missing;
  PathSearch paths(other);
  std::vector<NodeId> open, passed, reached;
  for (const NodeId from : touched) {
    if (!is_in_both(graph, other, from)) continue;
    if (graph.node(from).is_constant && !with_constants) continue;
    // Through what the other graph has not, up to the first node that it has.
    open = passed = {from};
    reached.clear();
    while (!open.empty()) {
      const NodeId id = open.back();
      open.pop_back();
      for (const Use& use : graph.uses(id)) {
        if (use.node == kNoNode) continue;
        if (is_in_both(graph, other, use.node)) {
          const TensorRef read = other.node(use.node).inputs[at(use.operand)];
          if (id != from || read != TensorRef{id, use.output}) reached.push_back(use.node);
        } else if (std::find(passed.begin(), passed.end(), use.node) == passed.end()) {
          passed.push_back(use.node);
          open.push_back(use.node);
        }
      }
    }
    if (reached.empty()) continue;
    for (const NodeId to : paths.not_led_to(from, reached)) missing.emplace_back(from, to);
  }
  return missing;
}

PathChange::PathChange(const Graph& graph, const std::vector<std::pair<NodeId, NodeId>>& paths) {
  if (paths.empty()) return;
  std::vector<NodeId> beginnings, ends;
  for (const auto& [from, to] : paths) {
    beginnings.push_back(from);
    ends.push_back(to);
  }
  above_ = all_above(graph, beginnings);
  below_ = all_below(graph, ends);
  is_above_.assign(graph.num_slots(), 0);
  is_below_.assign(graph.num_slots(), 0);
  for (const NodeId id : above_) is_above_[at(id)] = 1;
  for (const NodeId id : below_) is_below_[at(id)] = 1;
}

}  // namespace xflowrl
