#include "rule/routes.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <set>
#include <utility>

namespace xflowrl {
namespace {

size_t at(int i) { return static_cast<size_t>(i); }

// Marks `node` and all it reads as bound.
void mark(const Pattern& source, int node, std::vector<bool>& bound) {
  bound[at(node)] = true;
  for (const OperandPattern& o : source.nodes[at(node)].operands) {
    if (o.kind == OperandPattern::Kind::kNode && !bound[at(o.node)]) mark(source, o.node, bound);
  }
}

// Is what this operand speaks of known once the nodes in `bound` are?
bool is_known(const Pattern& source, const OperandPattern& operand,
              const std::vector<bool>& bound) {
  if (operand.kind == OperandPattern::Kind::kNode) return bound[at(operand.node)];
  if (operand.kind != OperandPattern::Kind::kTensor) return false;
  for (size_t n = 0; n < source.nodes.size(); ++n) {
    if (!bound[n]) continue;
    for (const OperandPattern& o : source.nodes[n].operands) {
      if (o.kind == OperandPattern::Kind::kTensor && o.var == operand.var) return true;
    }
  }
  return false;
}

// The shortest way from `node` down to something known; the path is kept from the bottom up.
std::optional<Climb> find_climb(const Pattern& source, int node, const std::vector<bool>& bound) {
  for (const OperandPattern& o : source.nodes[at(node)].operands) {
    if (is_known(source, o, bound)) return Climb{node, o, {node}};
  }
  for (const OperandPattern& o : source.nodes[at(node)].operands) {
    if (o.kind != OperandPattern::Kind::kNode) continue;
    if (auto below = find_climb(source, o.node, bound)) {
      below->entry = node;
      below->path.push_back(node);
      return below;
    }
  }
  return std::nullopt;
}

// Enters a part of the source at `anchor`, and all of it that has other roots.
void begin_part(Rule& rule, int anchor, std::vector<bool>& bound) {
  const Pattern& source = rule.source;
  rule.entries.push_back({anchor, {}, {}});
  mark(source, anchor, bound);
  for (bool progress = true; progress;) {
    progress = false;
    for (const TensorItem& item : source.tensors) {
      const int node = item.operand.node;
      if (bound[at(node)]) continue;
      if (auto climb = find_climb(source, node, bound)) {
        rule.entries.push_back(*climb);
        mark(source, node, bound);
        progress = true;
      }
    }
  }
  for (size_t n = 0; n < bound.size(); ++n) {
    if (bound[n] && rule.anchors[n] < 0) rule.anchors[n] = anchor;
  }
}

struct Edge {
  int to;
  Move::Kind kind;
};

// Which pattern nodes can be reached from which by one move.
std::vector<std::vector<Edge>> edges(const Pattern& source) {
  std::vector<std::vector<Edge>> result(source.nodes.size());
  const int count = static_cast<int>(source.nodes.size());
  for (int n = 0; n < count; ++n) {
    for (const OperandPattern& o : source.nodes[at(n)].operands) {
      if (o.kind == OperandPattern::Kind::kNode) {
        result[at(n)].push_back({o.node, Move::Kind::kToProducer});
        result[at(o.node)].push_back({n, Move::Kind::kToConsumers});
      }
      if (o.kind != OperandPattern::Kind::kTensor) continue;
      for (int m = 0; m < count; ++m) {
        for (const OperandPattern& p : source.nodes[at(m)].operands) {
          if (m != n && p.kind == OperandPattern::Kind::kTensor && p.var == o.var)
            result[at(n)].push_back({m, Move::Kind::kToSiblings});
        }
      }
    }
  }
  return result;
}

std::vector<Move> route(const Pattern& source, const std::vector<std::vector<Edge>>& graph,
                        int from, int to) {
  std::vector<int> previous(source.nodes.size(), -1);
  std::vector<Move::Kind> kind(source.nodes.size());
  std::deque<int> queue{from};
  previous[at(from)] = from;
  while (!queue.empty()) {
    const int n = queue.front();
    queue.pop_front();
    for (const Edge& e : graph[at(n)]) {
      if (previous[at(e.to)] >= 0) continue;
      previous[at(e.to)] = n;
      kind[at(e.to)] = e.kind;
      queue.push_back(e.to);
    }
  }
  std::vector<Move> moves;
  for (int n = to; n != from; n = previous[at(n)])
    moves.push_back({kind[at(n)], source.nodes[at(n)].op});
  std::reverse(moves.begin(), moves.end());
  return moves;
}

// Tensors and optional ones share one storage, sequences have another.
std::pair<int, int> key_of(const OperandPattern& o) {
  return {o.kind == OperandPattern::Kind::kSequence, o.var};
}

bool is_variable(const OperandPattern& o) {
  using Kind = OperandPattern::Kind;
  return o.kind == Kind::kTensor || o.kind == Kind::kOptional || o.kind == Kind::kSequence;
}

// Adds the variables of what `node` reads, near and far. Of several nodes that one `each` stands
// for, every one reads an element of its own.
void list_read(const Pattern& source, int node, bool is_itself,
               std::set<std::pair<int, int>>& read) {
  for (const OperandPattern& o : source.nodes[at(node)].operands) {
    if (o.kind == OperandPattern::Kind::kNode) list_read(source, o.node, false, read);
    if (is_variable(o) && !(is_itself && source.nodes[at(node)].is_each)) read.insert(key_of(o));
  }
}

// A tensor that a node reads, near or far, cannot be reached from it; every other might be.
std::vector<Crossing> find_crossings(const Pattern& source) {
  std::vector<Crossing> crossings;
  for (int n = 0; n < static_cast<int>(source.nodes.size()); ++n) {
    std::set<std::pair<int, int>> read;
    list_read(source, n, true, read);
    for (const NodePattern& node : source.nodes) {
      for (const OperandPattern& o : node.operands) {
        if (is_variable(o) && read.insert(key_of(o)).second) crossings.push_back({n, o});
      }
    }
  }
  return crossings;
}

}  // namespace

const char* plan_routes(Rule& rule) {
  const Pattern& source = rule.source;
  if (source.nodes[at(source.tensors[0].operand.node)].is_each)
    return "the first source may not be an `each`";
  std::vector<bool> bound(source.nodes.size(), false);
  rule.entries.clear();
  rule.anchors.assign(source.nodes.size(), -1);
  for (const TensorItem& item : source.tensors) {
    const int node = item.operand.node;
    if (bound[at(node)]) continue;
    rule.is_disconnected = !rule.entries.empty();
    begin_part(rule, node, bound);
  }
  const auto graph = edges(source);
  rule.routes.clear();
  for (int n = 0; n < static_cast<int>(source.nodes.size()); ++n)
    rule.routes.push_back(route(source, graph, n, rule.anchors[at(n)]));
  // A match grown from one root is closed but for that root: no path can leave and come back.
  bool needs_convexity = rule.entries.size() > 1;
  for (const TensorItem& item : source.tensors) {
    for (const NodePattern& node : source.nodes) {
      for (const OperandPattern& o : node.operands)
        needs_convexity |= o.kind == OperandPattern::Kind::kNode && o.node == item.operand.node;
    }
  }
  if (needs_convexity) rule.crossings = find_crossings(source);
  return nullptr;
}

}  // namespace xflowrl
