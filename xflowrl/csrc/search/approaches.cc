#include "search/approaches.h"

#include <algorithm>

namespace xflowrl {
namespace {

size_t at(int64_t i) { return static_cast<size_t>(i); }

bool is_same(const Move& a, const Move& b) { return a.kind == b.kind && a.op == b.op; }

// The nodes that a route leads to, each once. `places` holds the first and receives them.
void walk(const Graph& graph, const std::vector<Move>& route, std::vector<NodeId>& places,
          std::vector<NodeId>& next) {
  for (const Move& move : route) {
    next.clear();
    const auto arrive = [&](NodeId to) {
      if (to != kNoNode && graph.node(to).op == move.op) next.push_back(to);
    };
    for (const NodeId place : places) {
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
    auto& approaches = by_operator_[at(rule.source.nodes[n].op)];
    auto found = std::ranges::find_if(approaches, [&](const Approach& a) {
      return std::ranges::equal(a.route, rule.routes[n], is_same);
    });
    if (found == approaches.end())
      found = approaches.insert(approaches.end(), Approach{rule.routes[n], {}});
    const auto beginning =
        std::ranges::find(beginnings_, std::pair(index, rule.anchors[n])) - beginnings_.begin();
    found->leads_to.resize(beginnings_.size());
    found->leads_to[at(beginning)] = 1;
  }
}

std::vector<Anchor> Approaches::anchors_near(const Graph& graph,
                                             const std::vector<NodeId>& nodes) const {
  using Arrival = std::pair<NodeId, const Approach*>;
  std::vector<Arrival> arrivals;
  std::vector<NodeId> places, next;
  for (const NodeId id : nodes) {
    const Node& node = graph.node(id);
    if (node.op < kFirstOperator || node.is_opaque || by_operator_.empty()) continue;
    for (const Approach& approach : by_operator_[at(node.op)]) {
      places.assign(1, id);
      walk(graph, approach.route, places, next);
      for (const NodeId place : places) arrivals.emplace_back(place, &approach);
    }
  }
  std::ranges::sort(arrivals, {}, &Arrival::first);
  std::vector<Anchor> anchors;
  std::vector<char> begins(beginnings_.size());
  for (auto arrival = arrivals.begin(); arrival != arrivals.end();) {
    const NodeId place = arrival->first;
    std::ranges::fill(begins, 0);
    for (; arrival != arrivals.end() && arrival->first == place; ++arrival) {
      const auto& leads_to = arrival->second->leads_to;
      for (size_t i = 0; i < leads_to.size(); ++i) begins[i] |= leads_to[i];
    }
    for (size_t i = 0; i < begins.size(); ++i) {
      if (begins[i]) anchors.push_back({place, beginnings_[i].first, beginnings_[i].second});
    }
  }
  return anchors;
}

}  // namespace xflowrl
