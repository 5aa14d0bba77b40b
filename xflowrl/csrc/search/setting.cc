#include "search/setting.h"

#include <utility>

namespace xflowrl {
namespace {

size_t at(int64_t i) { return static_cast<size_t>(i); }

}  // namespace

OpIndex anchor_op(const Rule& rule) { return rule.source.nodes[at(rule.entries[0].entry)].op; }

Setting::Setting(std::shared_ptr<const RuleSet> rule_set, std::shared_ptr<CostTable> cost_table,
                 bool taso_hash)
    : rules(std::move(rule_set)), costs(std::move(cost_table)), with_taso_hash(taso_hash) {
  by_anchor.resize(operator_table().size());
  for (size_t r = 0; r < rules->rules.size(); ++r) {
    const Rule& rule = *rules->rules[r];
    if (rule.opset > rules->opset) continue;
    (rule.is_disconnected ? by_part : by_operator).add(static_cast<int>(r), rule);
    by_anchor[at(anchor_op(rule))].push_back(static_cast<int>(r));
    if (!rule.is_disconnected) continue;
    for (const int anchor : rule.anchors) part_operators.insert(rule.source.nodes[at(anchor)].op);
  }
}

}  // namespace xflowrl
