// What stays the same during a search, and where rules may match.
#pragma once

#include <memory>
#include <set>
#include <vector>

#include "cost/cost_table.h"
#include "graph/graph.h"
#include "rule/rule.h"

namespace xflowrl {

struct Setting {
  std::shared_ptr<const RuleSet> rules;
  std::shared_ptr<CostTable> costs;
  bool with_taso_hash = false;
  struct Entry {
    int rule, node;
  };
  // By operator: pattern nodes of connected sources and of the others; rules, by their first
  // anchor.
  std::vector<std::vector<Entry>> by_operator, by_part;
  std::vector<std::vector<int>> by_anchor;
  std::set<OpIndex> part_operators;  // at which the parts of disconnected sources begin

  Setting(std::shared_ptr<const RuleSet> rule_set, std::shared_ptr<CostTable> cost_table,
          bool taso_hash);
};

// The node where to begin a part of a rule's source, and the pattern node that it plays.
struct Anchor {
  NodeId node;
  int rule, entry;
  auto operator<=>(const Anchor&) const = default;
};

// Every match that binds a marked node has its anchor at the end of that pattern node's route.
// Sorted; of the rules that `by_operator` has.
std::vector<Anchor> anchors_near(const Graph& graph, const RuleSet& rules,
                                 const std::vector<std::vector<Setting::Entry>>& by_operator,
                                 const std::vector<NodeId>& marked);

}  // namespace xflowrl
