#include "search/setting.h"

#include <algorithm>
#include <utility>

namespace xflowrl {
namespace {

size_t at(int64_t i) { return static_cast<size_t>(i); }

// The operator of the node from which a rule's source is matched.
OpIndex anchor_op(const Rule& rule) { return rule.source.nodes[at(rule.entries[0].entry)].op; }

}  // namespace

Setting::Setting(std::shared_ptr<const RuleSet> rule_set, std::shared_ptr<CostTable> cost_table,
                 bool taso_hash)
    : rules(std::move(rule_set)), costs(std::move(cost_table)), with_taso_hash(taso_hash) {
  by_operator.resize(operator_table().size());
  by_anchor.resize(operator_table().size());
  by_part.resize(operator_table().size());
  for (size_t r = 0; r < rules->rules.size(); ++r) {
    const Rule& rule = *rules->rules[r];
    if (rule.opset > rules->opset) continue;
    auto& entries = rule.is_disconnected ? by_part : by_operator;
    for (size_t n = 0; n < rule.source.nodes.size(); ++n)
      entries[at(rule.source.nodes[n].op)].push_back({static_cast<int>(r), static_cast<int>(n)});
    by_anchor[at(anchor_op(rule))].push_back(static_cast<int>(r));
    if (!rule.is_disconnected) continue;
    for (const int anchor : rule.anchors) part_operators.insert(rule.source.nodes[at(anchor)].op);
  }
}

std::vector<Anchor> anchors_near(const Graph& graph, const RuleSet& rules,
                                 const std::vector<std::vector<Setting::Entry>>& by_operator,
                                 const std::vector<NodeId>& marked) {
  std::vector<Anchor> anchors;
  std::vector<NodeId> places, next;  // the nodes that a route has come to, each once
  for (NodeId id : marked) {
    const Node& node = graph.node(id);
    if (node.op < kFirstOperator || node.is_opaque) continue;
    for (const Setting::Entry& entry : by_operator[at(node.op)]) {
      places.assign(1, id);
      for (const Move& move : rules.rules[at(entry.rule)]->routes[at(entry.node)]) {
        next.clear();
        const auto arrive = [&](NodeId to) {
          if (to != kNoNode && graph.node(to).op == move.op) next.push_back(to);
        };
        for (NodeId place : places) {
          const Node& from = graph.node(place);
          if (move.kind == Move::Kind::kToConsumers) {
            for (const Use& use : graph.uses(place)) arrive(use.node);
          } else if (move.kind == Move::Kind::kToProducer) {
            for (const TensorRef& t : from.inputs) arrive(t.node);
          } else {
            for (const TensorRef& t : from.inputs) {
              if (t.node == kNoNode) continue;
              for (const Use& use : graph.uses(t.node)) {
                if (use.output == t.output) arrive(use.node);
              }
            }
          }
        }
        std::sort(next.begin(), next.end());
        next.erase(std::unique(next.begin(), next.end()), next.end());
        places.swap(next);
      }
      const int anchor = rules.rules[at(entry.rule)]->anchors[at(entry.node)];
      for (NodeId place : places) anchors.push_back({place, entry.rule, anchor});
    }
  }
  std::sort(anchors.begin(), anchors.end());
  anchors.erase(std::unique(anchors.begin(), anchors.end()), anchors.end());
  return anchors;
}

}  // namespace xflowrl
