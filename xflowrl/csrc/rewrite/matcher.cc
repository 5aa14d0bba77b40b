#include "rewrite/matcher.h"

#include <algorithm>

#include "rewrite/evaluate.h"
#include "rewrite/quantised.h"
#include "rewrite/tensor_list.h"
#include "rewrite/values.h"

namespace xflowrl {
namespace {

size_t at(int64_t i) { return static_cast<size_t>(i); }

}  // namespace

void Matcher::match(const Rule& rule, NodeId anchor, const Sink& sink) {
  rule_ = &rule;
  sink_ = &sink;
  goals_.clear();
  entry_ = 0;
  // Whoever binds something frees it in the end, so that here it is the sizes alone that change.
  binding_.tensors.resize(at(rule.num_tensors));
  binding_.sequences.resize(at(rule.num_sequences));
  binding_.attributes.resize(at(rule.num_attributes));
  binding_.attribute_sets.resize(at(rule.num_attribute_sets));
  binding_.nodes.resize(rule.source.nodes.size(), kNoNode);
  binding_.each_nodes.resize(rule.source.nodes.size());
  tensor_bound_.resize(at(rule.num_tensors));
  sequence_bound_.resize(at(rule.num_sequences));
  attribute_bound_.resize(at(rule.num_attributes));
  attribute_set_bound_.resize(at(rule.num_attribute_sets));
  goals_.push_back({nullptr, rule.entries[0].entry, {anchor, 0}});
  solve(0);
}

bool Matcher::is_bound(NodeId id) const {
  if (std::find(binding_.nodes.begin(), binding_.nodes.end(), id) != binding_.nodes.end())
    return true;
  return std::any_of(
      binding_.each_nodes.begin(), binding_.each_nodes.end(),
      [&](const auto& nodes) { return std::find(nodes.begin(), nodes.end(), id) != nodes.end(); });
}

void Matcher::solve(size_t next) {
  if (next == goals_.size()) {
    enter(next);
    return;
  }
  const Goal goal = goals_[next];
  if (goal.operand) {
    solve_tensor(goal, next + 1);
  } else {
    bind_node(goal.node, goal.tensor, nullptr, next + 1);
  }
}

void Matcher::solve_tensor(const Goal& goal, size_t next) {
  const OperandPattern& operand = *goal.operand;
  if (operand.kind == OperandPattern::Kind::kNode) {
    if (goal.tensor.node != kNoNode)
      bind_node(operand.node, goal.tensor, operand.all_outputs ? nullptr : &operand.output, next);
    return;
  }
  // A tensor variable; an optional one may be bound to nothing.
  if (operand.kind == OperandPattern::Kind::kTensor && goal.tensor.node == kNoNode) return;
  TensorRef& slot = binding_.tensors[at(operand.var)];
  if (tensor_bound_[at(operand.var)]) {
    if (slot == goal.tensor) solve(next);
    return;
  }
  slot = goal.tensor;
  tensor_bound_[at(operand.var)] = 1;
  solve(next);
  tensor_bound_[at(operand.var)] = 0;
  slot = {};
}

bool Matcher::attributes_match(const NodePattern& pattern, const Node& node) {
  if (node.op != pattern.op || node.is_opaque) return false;
  for (const AttrPattern& attr : pattern.attrs) {
    if (attr.kind != AttrPattern::Kind::kConstant) continue;
    if (!values::equal(*node.attrs->find(attr.name), attr.value)) {
      if (reasons_)
        fail(std::string(node.op_type()) + ": " + attr.name + " is " +
             attr_text(*node.attrs->find(attr.name)) + ", not " + attr_text(attr.value));
      return false;
    }
  }
  return true;
}

void Matcher::bind_node(int pattern_index, TensorRef tensor, const OutputIndex* output,
                        size_t next) {
  const NodePattern& pattern = rule_->source.nodes[at(pattern_index)];
  const Node& node = graph_.node(tensor.node);
  if (node.op != pattern.op || node.is_opaque) return;
  if (output && output->attr_var < 0 && output->number != tensor.output) return;

  // Which output it is may be a variable.
  const int var = output ? output->attr_var : -1;
  bool bound_here = false;
  if (var >= 0) {
    const AttrValue number = int64_t{tensor.output};
    if (attribute_bound_[at(var)] && !values::equal(binding_.attributes[at(var)], number)) return;
    bound_here = !attribute_bound_[at(var)];
    binding_.attributes[at(var)] = number;
    attribute_bound_[at(var)] = 1;
  }
  NodeId& slot = binding_.nodes[at(pattern_index)];
  if (slot != kNoNode) {
    if (slot == tensor.node) solve(next);
  } else if (!is_bound(tensor.node) && attributes_match(pattern, node)) {
    slot = tensor.node;
    std::vector<int> new_attributes;
    bool fits = true;
    for (const AttrPattern& attr : pattern.attrs) {
      if (attr.kind != AttrPattern::Kind::kBind) continue;
      const AttrValue& value = *node.attrs->find(attr.name);
      if (attribute_bound_[at(attr.var)]) {
        if (!values::equal(binding_.attributes[at(attr.var)], value)) {
          fail(std::string(node.op_type()) + ": " + attr.name + " differs between the nodes");
          fits = false;
          break;
        }
        continue;
      }
      binding_.attributes[at(attr.var)] = value;
      attribute_bound_[at(attr.var)] = 1;
      new_attributes.push_back(attr.var);
    }
    const int set = pattern.attr_set_var;
    bool new_set = false;
    if (fits && set >= 0) {
      AttrsPtr& bound = binding_.attribute_sets[at(set)];
      if (attribute_set_bound_[at(set)]) {
        fits = *bound == *node.attrs;
        if (!fits) fail("attributes differ between the nodes");
      } else {
        bound = node.attrs;
        attribute_set_bound_[at(set)] = 1;
        new_set = true;
      }
    }
    if (fits) bind_operands(pattern_index, node, next);
    for (int v : new_attributes) attribute_bound_[at(v)] = 0;
    if (new_set) attribute_set_bound_[at(set)] = 0;
    slot = kNoNode;
  }
  if (bound_here) attribute_bound_[at(var)] = 0;
}

void Matcher::bind_operands(int pattern_index, const Node& node, size_t next) {
  const NodePattern& pattern = rule_->source.nodes[at(pattern_index)];
  spread(pattern, node.inputs, 0, 0, next);
  const bool swappable = is_commutative_ && node.inputs.size() == 2 &&
                         operator_info(node.op).commutative && node.inputs[0] != node.inputs[1];
  if (!swappable) return;
  const TensorRef swapped[] = {node.inputs[1], node.inputs[0]};
  spread(pattern, swapped, 0, 0, next);
}

// Assigns the node's operands from i on to the pattern's from p on, in every way.
void Matcher::spread(const NodePattern& pattern, std::span<const TensorRef> inputs, size_t p,
                     size_t i, size_t next) {
  if (p == pattern.operands.size()) {
    if (i == inputs.size()) solve(next);
    return;
  }
  const OperandPattern& operand = pattern.operands[p];
  using Kind = OperandPattern::Kind;
  if (operand.kind == Kind::kSequence) {
    auto& slot = binding_.sequences[at(operand.var)];
    if (sequence_bound_[at(operand.var)]) {
      if (i + slot.size() <= inputs.size() &&
          std::equal(slot.begin(), slot.end(), inputs.begin() + static_cast<long>(i)))
        spread(pattern, inputs, p + 1, i + slot.size(), next);
      return;
    }
    sequence_bound_[at(operand.var)] = 1;
    for (size_t end = i + at(operand.min_length); end <= inputs.size(); ++end) {
      slot.assign(inputs.begin() + static_cast<long>(i), inputs.begin() + static_cast<long>(end));
      spread(pattern, inputs, p + 1, end, next);
    }
    sequence_bound_[at(operand.var)] = 0;
    slot.clear();
    return;
  }
  if (operand.kind == Kind::kNode && rule_->source.nodes[at(operand.node)].is_each) {
    spread_each(pattern, inputs, p, i, next);
    return;
  }
  size_t taken = 1;
  if (operand.kind == Kind::kNode && operand.all_outputs) {
    // All outputs of one node, in their order.
    if (i >= inputs.size() || inputs[i].node == kNoNode) return;
    taken = graph_.node(inputs[i].node).outputs.size();
    if (i + taken > inputs.size()) return;
    for (size_t k = 0; k < taken; ++k) {
      if (inputs[i + k] != TensorRef{inputs[i].node, static_cast<int32_t>(k)}) return;
    }
  }
  const bool present = i < inputs.size();
  const TensorRef tensor = present ? inputs[i] : TensorRef{};
  const size_t rest = present ? i + taken : i;
  if (operand.kind == Kind::kAbsent) {
    if (tensor.node == kNoNode) spread(pattern, inputs, p + 1, rest, next);
    return;
  }
  if (!present && operand.kind != Kind::kOptional) return;
  // The goals of this node's operands lie together at the end, and are solved in order.
  goals_.push_back({&operand, -1, tensor});
  spread(pattern, inputs, p + 1, rest, next);
  goals_.pop_back();
}

bool Matcher::is_each_element(const NodePattern& pattern, NodeId id) {
  const Node& node = graph_.node(id);
  return node.outputs.size() == 1 && node.inputs.size() == 1 && attributes_match(pattern, node);
}

// A run of operands that are all made by nodes of one kind. Runs are as long as they can be, or
// shorter if more pattern operands follow.
void Matcher::spread_each(const NodePattern& pattern, std::span<const TensorRef> inputs, size_t p,
                          size_t i, size_t next) {
  const int each_index = pattern.operands[p].node;
  const NodePattern& each = rule_->source.nodes[at(each_index)];
  const OperandPattern& operand = each.operands[0];
  if (sequence_bound_[at(operand.var)]) return;  // one run binds one sequence
  const std::vector<char> attributes_before = attribute_bound_;
  const std::vector<char> sets_before = attribute_set_bound_;
  auto& tensors = binding_.sequences[at(operand.var)];
  auto& nodes = binding_.each_nodes[at(each_index)];
  sequence_bound_[at(operand.var)] = 1;
  for (size_t end = i;; ++end) {
    if (end - i >= at(operand.min_length)) spread(pattern, inputs, p + 1, end, next);
    if (end == inputs.size() || inputs[end].node == kNoNode) break;
    const NodeId id = inputs[end].node;
    if (!is_each_element(each, id)) break;
    const bool repeated = std::find(nodes.begin(), nodes.end(), id) != nodes.end();
    if (!repeated && is_bound(id)) break;
    const Node& node = graph_.node(id);
    bool fits = true;
    for (const AttrPattern& attr : each.attrs) {
      if (attr.kind != AttrPattern::Kind::kBind) continue;
      const AttrValue& value = *node.attrs->find(attr.name);
      AttrValue& bound = binding_.attributes[at(attr.var)];
      if (attribute_bound_[at(attr.var)]) fits = fits && values::equal(bound, value);
      bound = attribute_bound_[at(attr.var)] ? bound : value;
      attribute_bound_[at(attr.var)] = 1;
    }
    if (each.attr_set_var >= 0) {
      AttrsPtr& bound = binding_.attribute_sets[at(each.attr_set_var)];
      if (attribute_set_bound_[at(each.attr_set_var)])
        fits = fits && *bound == *node.attrs;
      else
        bound = node.attrs;
      attribute_set_bound_[at(each.attr_set_var)] = 1;
    }
    if (!fits) {
      fail("attributes differ between the nodes");
      break;
    }
    tensors.push_back(node.inputs[0]);
    nodes.push_back(id);
  }
  sequence_bound_[at(operand.var)] = 0;
  tensors.clear();
  nodes.clear();
  attribute_bound_ = attributes_before;
  attribute_set_bound_ = sets_before;
}

// All goals are reached: go on to the next root of the source, or be done.
void Matcher::enter(size_t next) {
  if (++entry_ == rule_->entries.size()) {
    finish();
    --entry_;
    return;
  }
  const Climb& climb = rule_->entries[entry_];
  std::vector<NodeId> candidates;
  if (climb.path.empty()) {
    if (places_) candidates = places_(climb.entry);
  } else {
    candidates = climb_to(climb);
  }
  for (NodeId candidate : candidates) {
    goals_.push_back({nullptr, climb.entry, {candidate, 0}});
    solve(next);
    goals_.pop_back();
  }
  --entry_;
}

// The nodes that a climb's path leads to, each once.
std::vector<NodeId> Matcher::climb_to(const Climb& climb) const {
  TensorRef from;
  if (climb.from.kind == OperandPattern::Kind::kNode) {
    from = {binding_.nodes[at(climb.from.node)], climb.from.output.number};
  } else {
    from = binding_.tensors[at(climb.from.var)];
  }
  const bool any_output =
      climb.from.kind == OperandPattern::Kind::kNode && climb.from.output.attr_var >= 0;
  std::vector<NodeId> candidates;
  const auto climb_from = [&](auto&& self, NodeId producer, int output, size_t step) -> void {
    for (const Use& use : graph_.uses(producer)) {
      if (use.node == kNoNode || (output >= 0 && use.output != output)) continue;
      if (graph_.node(use.node).op != rule_->source.nodes[at(climb.path[step])].op) continue;
      if (step + 1 == climb.path.size()) {
        candidates.push_back(use.node);
      } else {
        self(self, use.node, -1, step + 1);
      }
    }
  };
  climb_from(climb_from, from.node, any_output ? -1 : from.output, 0);
  std::sort(candidates.begin(), candidates.end());
  candidates.erase(std::unique(candidates.begin(), candidates.end()), candidates.end());
  return candidates;
}

// The tensors that the rule would replace here. False: one of them does not exist.
bool Matcher::list_replaced() {
  replaced_.clear();
  return list_tensors(
      rule_->source, graph_, binding_, [&](size_t i) { return binding_.nodes_of(i); },
      [&](NodeId id) { return graph_.node(id).outputs.size(); }, replaced_);
}

// Every inner result is used inside the match alone, and no variable is bound to one.
bool Matcher::is_closed() const {
  bool closed = true;
  binding_.for_each_node([&](NodeId id) {
    if (graph_.node(id).is_constant && !rule_->matches_constants) return;
    for (const Use& use : graph_.uses(id)) {
      const TensorRef tensor{id, use.output};
      if (std::find(replaced_.begin(), replaced_.end(), tensor) != replaced_.end()) continue;
      closed = closed && use.node != kNoNode && is_bound(use.node);
    }
  });
  binding_.for_each_tensor([&](TensorRef t) { closed = closed && !is_bound(t.node); });
  return closed;
}

bool Matcher::guards_hold() {
  for (size_t i = 0; i < rule_->source.nodes.size(); ++i) {
    for (const AttrPattern& attr : rule_->source.nodes[i].attrs) {
      if (attr.kind != AttrPattern::Kind::kExpression) continue;
      AttrValue value;
      bool fits = evaluate(attr.expr, graph_, binding_, value);
      const auto check = [&](NodeId id) {
        fits = fits && values::equal(*graph_.node(id).attrs->find(attr.name), value);
      };
      if (binding_.nodes[i] != kNoNode) check(binding_.nodes[i]);
      for (NodeId id : binding_.each_nodes[i]) check(id);
      if (!fits) {
        fail("attribute " + attr.name + " has not the value the rule asks for");
        return false;
      }
    }
  }
  for (const Guard& guard : rule_->guards) {
    AttrValue value;
    if (!evaluate(guard.expr, graph_, binding_, value) || !is_true(value)) {
      if (reasons_) fail("guard fails: " + guard.text);
      return false;
    }
  }
  return true;
}

void Matcher::finish() {
  if (!list_replaced()) return;
  if (binds_quantised(graph_, binding_))
    return fail("an operator between DequantizeLinear and QuantizeLinear is left alone");
  for (const TensorRef& t : replaced_) {
    // What depends on constants alone is folded, not rewritten.
    if (graph_.is_constant(t) && !rule_->matches_constants) return;
  }
  // An `each` that matched no node binds none of its attributes.
  const auto is_unbound = [](char bound) { return !bound; };
  if (std::any_of(attribute_bound_.begin(), attribute_bound_.end(), is_unbound) ||
      std::any_of(attribute_set_bound_.begin(), attribute_set_bound_.end(), is_unbound))
    return;
  if (!is_closed()) {
    fail("an inner result is used outside the match");
    return;
  }
  if (guards_hold()) (*sink_)(binding_);
}

}  // namespace xflowrl
