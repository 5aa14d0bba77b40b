#include "search/approaches.h"

#include <algorithm>
#include <bit>

namespace xflowrl {
namespace {

size_t at(int64_t i) { return static_cast<size_t>(i); }

// The nodes that one move leads to from some, each once.
std::vector<NodeId> nodes_after(const Graph& graph, const Move& move,
                                const std::vector<NodeId>& nodes) {
  std::vector<NodeId> reached;
  const auto arrive = [&](NodeId to) {
    if (to != kNoNode && graph.node(to).op == move.op) reached.push_back(to);
  };
  for (const NodeId id : nodes) {
    if (move.kind == Move::Kind::kToConsumers) {
      for (const Use& use : graph.uses(id)) arrive(use.node);
      continue;
    }
    for (const TensorRef& t : graph.node(id).inputs) {
      if (move.kind == Move::Kind::kToProducer) {
        arrive(t.node);
      } else if (t.node != kNoNode) {
        for (const Use& use : graph.uses(t.node)) {
          if (use.output == t.output) arrive(use.node);
        }
      }
    }
  }
  std::sort(reached.begin(), reached.end());
  reached.erase(std::unique(reached.begin(), reached.end()), reached.end());
  return reached;
}

}  // namespace

void Approaches::add(int index, const Rule& rule) {
  by_operator_.resize(operator_table().size());
  const size_t num_nodes = rule.source.nodes.size();
  for (int n = 0; n < static_cast<int>(num_nodes); ++n) {
    const bool is_anchor = std::ranges::find(rule.anchors, n) != rule.anchors.end();
    if (is_anchor) beginnings_.emplace_back(index, n);
  }
  for (size_t n = 0; n < num_nodes; ++n) {
    Approach* approach = &by_operator_[at(rule.source.nodes[n].op)];
    for (const Move& move : rule.routes[n]) {
      auto next = std::ranges::find_if(approach->next, [&](const Approach& a) {
        return a.move.kind == move.kind && a.move.op == move.op;
      });
      if (next == approach->next.end()) next = approach->next.insert(next, Approach{move, {}, {}});
      approach = &*next;
    }
    const size_t beginning =
        at(std::ranges::find(beginnings_, std::pair(index, rule.anchors[n])) - beginnings_.begin());
    approach->leads_to.resize(beginnings_.size() / 64 + 1);
    approach->leads_to[beginning / 64] |= uint64_t{1} << beginning % 64;
  }
}

void Approaches::follow(const Graph& graph, const Approach& approach,
                        const std::vector<NodeId>& places, std::vector<Arrival>& arrivals) {
  if (!approach.leads_to.empty()) {
    for (const NodeId place : places) arrivals.emplace_back(place, &approach.leads_to);
  }
  for (const Approach& next : approach.next) {
    const std::vector<NodeId> reached = nodes_after(graph, next.move, places);
    if (!reached.empty()) follow(graph, next, reached, arrivals);
  }
}

std::vector<Anchor> Approaches::anchors_near(const Graph& graph,
                                             const std::vector<NodeId>& nodes) const {
  std::vector<Arrival> arrivals;
  for (const NodeId id : nodes) {
    const Node& node = graph.node(id);
    if (node.op < kFirstOperator || node.is_opaque || by_operator_.empty()) continue;
    follow(graph, by_operator_[at(node.op)], {id}, arrivals);
  }
  std::ranges::sort(arrivals, {}, &Arrival::first);
  std::vector<Anchor> anchors;
  Beginnings begins(beginnings_.size() / 64 + 1);
  for (auto arrival = arrivals.begin(); arrival != arrivals.end();) {
    const NodeId place = arrival->first;
    std::ranges::fill(begins, 0);
    for (; arrival != arrivals.end() && arrival->first == place; ++arrival) {
      const auto& leads_to = *arrival->second;
      for (size_t i = 0; i < leads_to.size(); ++i) begins[i] |= leads_to[i];
    }
    for (size_t i = 0; i < begins.size(); ++i) {
      for (uint64_t bits = begins[i]; bits != 0; bits &= bits - 1) {
        const auto& [rule, entry] = beginnings_[64 * i + at(std::countr_zero(bits))];
        anchors.push_back({place, rule, entry});
      }
    }
  }
  return anchors;
}

}  // namespace xflowrl
