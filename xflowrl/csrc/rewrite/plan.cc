#include "rewrite/plan.h"

#include <algorithm>
#include <stdexcept>

#include "graph/canonical_attributes.h"
#include "graph/graph_edit.h"
#include "rewrite/evaluate.h"
#include "rewrite/tensor_list.h"

namespace xflowrl {
namespace {

size_t at(int64_t i) { return static_cast<size_t>(i); }

template <class List, class T>
bool contains(const List& list, const T& value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

// The graph together with the nodes a plan would add.
struct View {
  const Graph& graph;
  const std::vector<Node>& added;

  const Node& node(TensorRef t) const {
    return is_planned(t) ? added[planned_index(t)] : graph.node(t.node);
  }
  const Output& output(TensorRef t) const { return node(t).outputs[at(t.output)]; }
  const TensorType& type(TensorRef t) const { return output(t).type; }
  Hash128 id(TensorRef t) const { return t.node == kNoNode ? Hash128{} : output(t).value_id; }
  Operand operand(TensorRef t) const {
    return t.node == kNoNode ? Operand{} : Operand{&type(t), node(t).is_constant};
  }
};

// The operand that a constant Split or Concat gives back: the parts of a Concat that a Split cuts
// where they were joined, or the tensor whose parts a Concat joins again. Otherwise `t` itself.
// Without this, rewrites that undo each other would leave weights as ever longer expressions.
TensorRef simplified(const View& view, TensorRef t) {
  static const OpIndex kSplit = find_operator("Split"), kConcat = find_operator("Concat");
  const Node& node = view.node(t);
  if (!node.is_constant || (node.op != kSplit && node.op != kConcat)) return t;
  const Node& producer = view.node(node.inputs[0]);
  if (producer.op != (node.op == kSplit ? kConcat : kSplit)) return t;
  if (*node.attrs->find("axis") != *producer.attrs->find("axis")) return t;
  if (node.op == kSplit) {
    bool equal = node.outputs.size() == producer.inputs.size();
    for (size_t i = 0; equal && i < node.outputs.size(); ++i)
      equal = node.outputs[i].type == view.type(producer.inputs[i]);
    return equal ? producer.inputs[at(t.output)] : t;
  }
  bool equal = node.inputs.size() == producer.outputs.size();
  for (size_t i = 0; equal && i < node.inputs.size(); ++i)
    equal = node.inputs[i] == TensorRef{node.inputs[0].node, static_cast<int32_t>(i)};
  return equal ? producer.inputs[0] : t;
}

// Builds the target's nodes, operands first.
class Builder {
 public:
  Builder(const Graph& graph, const Rule& rule, const Binding& binding, Plan& plan)
      : graph_(graph), rule_(rule), binding_(binding), plan_(plan), view_{graph, plan.added} {}

  const char* build() {
    const auto& patterns = rule_.target.nodes;
    plan_.added.reserve(patterns.size());
    first_.reserve(patterns.size() + 1);
    planned_.reserve(patterns.size());
    for (size_t p = 0; p < patterns.size(); ++p) {
      first_.push_back(planned_.size());
      std::vector<TensorRef> inputs;
      inputs.reserve(patterns[p].operands.size());
      for (const OperandPattern& o : patterns[p].operands) {
        if (const char* error = add_operand(o, inputs)) return error;
      }
      if (!patterns[p].is_each) {
        while (!inputs.empty() && inputs.back().node == kNoNode) inputs.pop_back();
        if (const char* error = add_node(p, std::move(inputs))) return error;
        continue;
      }
      for (const TensorRef& t : inputs) {
        if (const char* error = add_node(p, {t})) return error;
      }
    }
    first_.push_back(planned_.size());
    return replace();
  }

 private:
  const char* add_operand(const OperandPattern& o, std::vector<TensorRef>& inputs) {
    switch (o.kind) {
      case OperandPattern::Kind::kAbsent:
        inputs.push_back({});
        return nullptr;
      case OperandPattern::Kind::kTensor:
      case OperandPattern::Kind::kOptional:
        inputs.push_back(binding_.tensors[at(o.var)]);
        return nullptr;
      case OperandPattern::Kind::kSequence:
        inputs.insert(inputs.end(), binding_.sequences[at(o.var)].begin(),
                      binding_.sequences[at(o.var)].end());
        return nullptr;
      case OperandPattern::Kind::kLiteral:
        return add_literal(o, inputs);
      case OperandPattern::Kind::kNode:
        break;
    }
    const std::span<const NodeId> nodes = nodes_of(at(o.node));
    if (rule_.target.nodes[at(o.node)].is_each) {
      for (NodeId id : nodes) inputs.push_back(result({id, 0}));
      return nullptr;
    }
    const auto count = static_cast<int64_t>(num_outputs_of(nodes[0]));
    if (o.all_outputs) {
      for (int32_t i = 0; i < count; ++i) inputs.push_back(result({nodes[0], i}));
      return nullptr;
    }
    int64_t index = o.output.number;
    if (o.output.attr_var >= 0) {
      const int64_t* value = std::get_if<int64_t>(&binding_.attributes[at(o.output.attr_var)]);
      index = value ? *value : -1;
    }
    if (index < 0 || index >= count) return "the target reads an output that does not exist";
    inputs.push_back(result({nodes[0], static_cast<int32_t>(index)}));
    return nullptr;
  }

  // The planned nodes of a target node whose turn has been.
  std::span<const NodeId> nodes_of(size_t p) const {
    return std::span(planned_).subspan(first_[p], first_[p + 1] - first_[p]);
  }
  size_t num_outputs_of(NodeId planned) const {
    return plan_.added[planned_index({planned, 0})].outputs.size();
  }

  // An output of a planned node, or what it amounts to. Rules that rewrite constants do so alone.
  TensorRef result(TensorRef t) const { return rule_.matches_constants ? t : simplified(view_, t); }

  const char* add_literal(const OperandPattern& o, std::vector<TensorRef>& inputs) {
    AttrValue value;
    if (!evaluate(o.value, graph_, binding_, value)) return "a literal of the target has no value";
    Floats values;
    std::vector<int64_t> shape;
    if (const int64_t* i = std::get_if<int64_t>(&value)) {
      values = {static_cast<double>(*i)};
    } else if (const double* d = std::get_if<double>(&value)) {
      values = {*d};
    } else if (const Ints* list = std::get_if<Ints>(&value)) {
      values.assign(list->begin(), list->end());
      shape = {static_cast<int64_t>(list->size())};
    } else if (const Floats* reals = std::get_if<Floats>(&value)) {
      values = *reals;
      shape = {static_cast<int64_t>(reals->size())};
    }
    if (values.empty() || values.size() > at(kMaxLiteral)) return "a literal has 1 to 64 elements";
    Node node;
    node.op = kLiteralOp;
    node.literal = std::make_shared<const Floats>(std::move(values));
    node.outputs.push_back(
        {TensorType(graph_.type(binding_.tensors[at(o.var)]).dtype, shape), {}, 0});
    inputs.push_back(planned_ref(plan_.added.size(), 0));
    append(std::move(node), {});
    return nullptr;
  }

  const char* add_node(size_t p, std::vector<TensorRef> inputs) {
    const NodePattern& pattern = rule_.target.nodes[p];
    Node node;
    node.op = pattern.op;
    node.inputs = std::move(inputs);
    const AttrsPtr& set = pattern.attr_set_var < 0
                              ? Attrs::empty()
                              : binding_.attribute_sets[at(pattern.attr_set_var)];
    std::vector<Attrs::Item> items;
    items.reserve(pattern.attrs.size());
    if (!pattern.attrs.empty()) items = set->items();
    for (const AttrPattern& attr : pattern.attrs) {
      AttrValue value;
      if (!evaluate(attr.expr, graph_, binding_, value))
        return "an attribute of the target has no value";
      const auto known = std::find_if(items.begin(), items.end(),
                                      [&](const Attrs::Item& i) { return i.first == attr.name; });
      if (known != items.end()) {
        known->second = std::move(value);
      } else {
        items.emplace_back(attr.name, std::move(value));
      }
    }
    operands_.clear();
    operands_.reserve(node.inputs.size());
    for (const TensorRef& t : node.inputs) operands_.push_back(view_.operand(t));
    types_.clear();
    try {
      node.attrs = pattern.attrs.empty() ? canonical_attributes(node.op, set)
                                         : canonical_attributes(node.op, std::move(items));
      if (const char* error = infer_types(node.op, operands_, *node.attrs, types_)) return error;
    } catch (const std::invalid_argument&) {
      return "an attribute of the target has the wrong type";
    }
    node.outputs.reserve(types_.size());
    for (const TensorType& type : types_) node.outputs.push_back({type, {}, 0});
    planned_.push_back(planned_ref(plan_.added.size(), 0).node);
    append(std::move(node), operands_);
    return nullptr;
  }

  void append(Node node, Operands operands) {
    node.created = graph_.num_created() + static_cast<int32_t>(plan_.added.size());
    sign(node, operands);
    plan_.added.push_back(std::move(node));
  }

  // Pairs old tensors with new ones; the new ones take over name and value id.
  const char* replace() {
    std::vector<TensorRef> old_tensors, new_tensors;
    if (!list_tensors(
            rule_.source, graph_, binding_, [&](size_t i) { return binding_.nodes_of(i); },
            [&](NodeId id) { return graph_.node(id).outputs.size(); }, old_tensors))
      return "an output of the source does not exist";
    if (!list_tensors(
            rule_.target, graph_, binding_, [&](size_t p) { return nodes_of(p); },
            [&](NodeId planned) { return num_outputs_of(planned); }, new_tensors))
      return "the target lists an output that does not exist";
    if (old_tensors.size() != new_tensors.size())
      return "source and target differ in the number of tensors";
    const auto num_outputs_before = [&](size_t k) {
      size_t total = 0;
      for (size_t i = 0; i < k; ++i) total += plan_.added[i].outputs.size();
      return total;
    };
    plan_.has_name.assign(num_outputs_before(plan_.added.size()), 0);
    plan_.replaced.reserve(old_tensors.size());
    for (size_t i = 0; i < old_tensors.size(); ++i) {
      const TensorRef from = old_tensors[i], to = new_tensors[i];
      if (to.node == kNoNode || graph_.type(from) != view_.type(to))
        return "a replaced tensor would change its type";
      plan_.replaced.emplace_back(from, to);
      if (!is_planned(to)) continue;
      char& named = plan_.has_name[num_outputs_before(planned_index(to)) + at(to.output)];
      if (named) continue;
      named = 1;
      Output& output = plan_.added[planned_index(to)].outputs[at(to.output)];
      output.value_id = graph_.output(from).value_id;
      output.name = graph_.output(from).name;
    }
    derive_ids();
    return nullptr;
  }

  void derive_ids() {
    std::vector<Hash128> ids;
    for (Node& node : plan_.added) {
      ids.clear();
      ids.reserve(node.inputs.size());
      for (const TensorRef& t : node.inputs) ids.push_back(view_.id(t));
      for (size_t i = 0; i < node.outputs.size(); ++i) {
        Hash128& id = node.outputs[i].value_id;
        if (id == Hash128{})
          id = derived_value_id(node, ids, static_cast<int>(i), graph_.is_commutative());
      }
    }
  }

  const Graph& graph_;
  const Rule& rule_;
  const Binding& binding_;
  Plan& plan_;
  View view_;
  std::vector<NodeId> planned_;  // planned nodes of the target's, in their order
  std::vector<size_t> first_;    // per target node: of those, its first
  std::vector<Operand> operands_;
  std::vector<TensorType> types_;
};

// A replaced tensor may have no reader outside the match; then what would replace it is left out.
void mark_needed(const Graph& graph, Plan& plan) {
  plan.is_needed.assign(plan.added.size(), 0);
  for (const auto& [from, to] : plan.replaced) {
    if (!is_planned(to)) continue;
    for (const Use& use : graph.uses(from.node)) {
      if (use.output == from.output && (use.node == kNoNode || !contains(plan.removed, use.node)))
        plan.is_needed[planned_index(to)] = 1;
    }
  }
  for (size_t k = plan.added.size(); k-- > 0;) {
    if (!plan.is_needed[k]) continue;
    for (const TensorRef& t : plan.added[k].inputs) {
      if (is_planned(t)) plan.is_needed[planned_index(t)] = 1;
    }
  }
}

}  // namespace

const char* make_plan(const Graph& graph, const Rule& rule, const Binding& binding, Plan& plan) {
  if (const char* error = Builder(graph, rule, binding, plan).build()) return error;
  plan.removed.reserve(binding.nodes.size());
  binding.for_each_node([&](NodeId id) {
    const bool is_folded = graph.node(id).is_constant && !rule.matches_constants;
    if (!is_folded && !contains(plan.removed, id)) plan.removed.push_back(id);
  });
  mark_needed(graph, plan);
  return nullptr;
}

Graph carry_out(const Graph& graph, const Plan& plan, std::vector<NodeId>& touched) {
  GraphEdit edit(graph);
  std::vector<NodeId> ids;
  const auto actual = [&](TensorRef t) {
    return is_planned(t) ? TensorRef{ids[planned_index(t)], t.output} : t;
  };
  size_t name = 0;
  for (size_t k = 0; k < plan.added.size(); ++k) {
    Node node = plan.added[k];
    for (Output& output : node.outputs) {
      if (!plan.has_name[name++]) output.name = edit.new_name();
    }
    ids.push_back(kNoNode);
    if (!plan.is_needed[k]) continue;
    for (TensorRef& t : node.inputs) t = actual(t);
    ids.back() = edit.add_inheriting(std::move(node));
  }
  for (const auto& [from, to] : plan.replaced) {
    if (!is_planned(to) || plan.is_needed[planned_index(to)]) edit.redirect(from, actual(to));
  }
  for (const NodeId id : plan.removed) edit.remove_if_dead(id);
  touched = edit.touched();
  return edit.finish();
}

}  // namespace xflowrl
