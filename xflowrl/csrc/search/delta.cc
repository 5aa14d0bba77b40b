#include "search/delta.h"

#include <algorithm>

#include "taso/taso_hash.h"

namespace xflowrl {
namespace {

size_t at(int64_t i) { return static_cast<size_t>(i); }

// A node that stays, but reads other tensors or whose operands change in constness.
struct Rewired {
  NodeId id;
  Node node;  // as it will be; inputs may be planned references
};

class DeltaBuilder {
 public:
  DeltaBuilder(const Graph& graph, Plan& plan, CostTable& costs, bool with_taso_hash)
      : graph_(graph), plan_(plan), costs_(costs), with_taso_hash_(with_taso_hash) {}

  Delta build() {
    num_matched_ = plan_.removed.size();
    find_dead();
    find_rewired();
    spread_constness();
    for (const NodeId id : plan_.removed) remove(id);
    for (size_t k = 0; k < plan_.added.size(); ++k) {
      if (plan_.is_needed[k]) add(plan_.added[k]);
    }
    for (const Rewired& r : rewired_) rewire(r);
    return delta_;
  }

 private:
  bool is_removed(NodeId id) const {
    return std::find(plan_.removed.begin(), plan_.removed.end(), id) != plan_.removed.end();
  }

  TensorRef replacement(TensorRef t) const {
    for (const auto& [from, to] : plan_.replaced) {
      if (from == t) return to;
    }
    return t;
  }
  bool is_replaced(TensorRef t) const { return replacement(t) != t; }

  const Node& node_of(TensorRef t) const {
    if (is_planned(t)) return plan_.added[planned_index(t)];
    for (const Rewired& r : rewired_) {
      if (r.id == t.node) return r.node;
    }
    return graph_.node(t.node);
  }

  // --- nodes that die with the match -----------------------------------------------------------

  bool gains_a_use(NodeId id) const {
    for (size_t k = 0; k < plan_.added.size(); ++k) {
      for (const TensorRef& t : plan_.added[k].inputs) {
        if (t.node == id && plan_.is_needed[k]) return true;
      }
    }
    for (const auto& [from, to] : plan_.replaced) {
      if (to.node != id) continue;
      for (const Use& use : graph_.uses(from.node)) {
        if (use.output == from.output && (use.node == kNoNode || !is_removed(use.node)))
          return true;
      }
    }
    return false;
  }

  bool is_dead(NodeId id) const {
    if (graph_.node(id).op == kInputOp || is_removed(id)) return false;
    for (const Use& use : graph_.uses(id)) {
      if (is_replaced({id, use.output})) continue;
      if (use.node == kNoNode || !is_removed(use.node)) return false;
    }
    return !gains_a_use(id);
  }

  void find_dead() {
    for (size_t i = 0; i < plan_.removed.size(); ++i) {
      const NodeId id = plan_.removed[i];
      const Node& node = graph_.node(id);
      for (const TensorRef& t : node.inputs) {
        if (t.node == kNoNode || !is_dead(t.node)) continue;
        plan_.removed.push_back(t.node);
      }
      // Whether the producers of an unmatched node die too is beyond the neighbours of the match.
      if (i >= num_matched_ && !node.inputs.empty()) delta_.is_local = false;
    }
  }

  // --- nodes that stay but change --------------------------------------------------------------

  Rewired& rewired(NodeId id) {
    for (Rewired& r : rewired_) {
      if (r.id == id) return r;
    }
    rewired_.push_back({id, graph_.node(id)});
    return rewired_.back();
  }

  // Do readers of the one add to the sums what they add as readers of the other?
  bool are_alike(TensorRef from, TensorRef planned) const {
    const Node &before = graph_.node(from.node), &after = node_of(planned);
    return !with_taso_hash_ && !costs_.reads_producers() &&
           before.is_constant == after.is_constant &&
           before.outputs[at(from.output)].value_id == after.outputs[at(planned.output)].value_id;
  }

  void find_rewired() {
    for (const auto& [from, to] : plan_.replaced) {
      if (is_planned(to) && are_alike(from, to)) continue;
      for (const Use& use : graph_.uses(from.node)) {
        if (use.output != from.output || use.node == kNoNode || is_removed(use.node)) continue;
        rewired(use.node).node.inputs[at(use.operand)] = to;
      }
    }
  }

  // Signs the rewired nodes anew; one that becomes constant changes its consumers' operands too.
  void spread_constness() {
    for (bool changed = true; changed;) {
      changed = false;
      for (size_t i = 0; i < rewired_.size(); ++i) {
        const bool was_constant = rewired_[i].node.is_constant;
        read_operands(rewired_[i].node, Time::kAfter);
        sign(rewired_[i].node, operands_);
        if (rewired_[i].node.is_constant == was_constant) continue;
        changed = true;
        delta_.is_local = false;
        for (const Use& use : graph_.uses(rewired_[i].id)) {
          if (use.node != kNoNode && !is_removed(use.node)) rewired(use.node);
        }
      }
    }
  }

  // --- sums ------------------------------------------------------------------------------------

  // Fills operands_ and ids_, buffers that are reused, for this is an inner loop. What a node reads
  // may be as it stands in the graph, or as it will.
  enum class Time { kBefore, kAfter };
  void read_operands(const Node& node, Time time) {
    operands_.clear();
    ids_.clear();
    operands_.reserve(node.inputs.size());
    ids_.reserve(node.inputs.size());
    for (const TensorRef& t : node.inputs) {
      const Node* producer = t.node == kNoNode       ? nullptr
                             : time == Time::kBefore ? &graph_.node(t.node)
                                                     : &node_of(t);
      const Output* output = producer ? &producer->outputs[at(t.output)] : nullptr;
      operands_.push_back(output ? Operand{&output->type, producer->is_constant, producer->op}
                                 : Operand{});
      ids_.push_back(output ? output->value_id : Hash128{});
    }
  }

  void count(const Node& node, int sign) {
    delta_.num_nodes += sign;
    if (!node.is_leaf() && !node.is_constant) delta_.num_operators += sign;
  }

  Cost price(const Node& node) { return costs_.price(node, operands_, graph_.priced_sizes()); }

  // Takes away what `node` adds as it stands in the graph; its operands there have been read.
  void drop_contribution(const Node& node) {
    delta_.hash -= node_contribution(node, ids_, graph_.is_commutative());
    if (!with_taso_hash_) return;
    delta_.taso_hash -=
        taso_contribution(node, [&](TensorRef t) -> const Node& { return graph_.node(t.node); });
  }

  // As it will stand; its operands have been read.
  void add_contribution(const Node& node) {
    delta_.hash += node_contribution(node, ids_, graph_.is_commutative());
    if (!with_taso_hash_) return;
    delta_.taso_hash +=
        taso_contribution(node, [&](TensorRef t) -> const Node& { return node_of(t); });
  }

  void remove(NodeId id) {
    const Node& node = graph_.node(id);
    count(node, -1);
    read_operands(node, Time::kBefore);
    delta_.cost -= price(node);
    drop_contribution(node);
  }

  void add(const Node& node) {
    count(node, 1);
    read_operands(node, Time::kAfter);
    delta_.cost += price(node);
    add_contribution(node);
  }

  void rewire(const Rewired& r) {
    const Node& before = graph_.node(r.id);
    const bool has_changed = before.signature != r.node.signature || costs_.reads_producers();
    read_operands(before, Time::kBefore);
    if (has_changed) {
      count(before, -1);
      count(r.node, 1);
      delta_.cost -= price(before);
    }
    drop_contribution(before);
    read_operands(r.node, Time::kAfter);
    if (has_changed) delta_.cost += price(r.node);
    add_contribution(r.node);
  }

  const Graph& graph_;
  Plan& plan_;
  CostTable& costs_;
  const bool with_taso_hash_;
  Delta delta_;
  size_t num_matched_ = 0;
  std::vector<Rewired> rewired_;
  std::vector<Operand> operands_;
  std::vector<Hash128> ids_;
};

}  // namespace

Delta compute_delta(const Graph& graph, Plan& plan, CostTable& costs, bool with_taso_hash) {
  return DeltaBuilder(graph, plan, costs, with_taso_hash).build();
}

}  // namespace xflowrl
