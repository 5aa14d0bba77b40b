// What stays the same during a search, and where rules may match.
#pragma once

#include <memory>
#include <set>
#include <vector>

#include "cost/cost_table.h"
#include "graph/graph.h"
#include "rule/rule.h"
#include "search/approaches.h"

namespace xflowrl {

// The operator of the node from which a rule's source is matched.
OpIndex anchor_op(const Rule& rule);

struct Setting {
  std::shared_ptr<const RuleSet> rules;
  std::shared_ptr<CostTable> costs;
  bool with_taso_hash = false;
  Approaches by_operator, by_part;          // to connected sources, and to the parts of the others
  std::vector<std::vector<int>> by_anchor;  // rules, by the operator of their first anchor
  std::set<OpIndex> part_operators;         // at which the parts of disconnected sources begin

  Setting(std::shared_ptr<const RuleSet> rule_set, std::shared_ptr<CostTable> cost_table,
          bool taso_hash);
};

}  // namespace xflowrl
