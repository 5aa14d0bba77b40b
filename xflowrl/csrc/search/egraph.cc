#include "search/egraph.h"

#include "rewrite/plan.h"

namespace xflowrl {
namespace {

size_t at(int64_t i) { return static_cast<size_t>(i); }

}  // namespace

EGraph::Index EGraph::value(const Hash128& id) {
  return values_.try_emplace(id, static_cast<Index>(values_.size())).first->second;
}

// Nodes are the same if all that a graph's hash and its cost have of them is.
template <class IdOf>
EGraph::Index EGraph::add_node(const xflowrl::Node& node, double cost_ms, bool is_commutative,
                               IdOf id_of) {
  std::vector<Hash128> inputs;
  inputs.reserve(node.inputs.size());
  for (const TensorRef& t : node.inputs) inputs.push_back(t.node == kNoNode ? Hash128{} : id_of(t));
  const Hash128 key = Hasher(10)
                          .add(node_contribution(node, inputs, is_commutative))
                          .add(node.signature)
                          .add(cost_ms)
                          .done();
  const auto [known, is_new] = known_nodes_.try_emplace(key, static_cast<Index>(nodes_.size()));
  if (!is_new) return known->second;
  Node made{std::string(node.op_type()), cost_ms, {}, false, {}, {}};
  made.operation = node.is_named_leaf() ? node.outputs[0].value_id
                                        : derived_value_id(node, {}, 0, is_commutative);
  made.is_commutative = is_commutative && node.op >= 0 && operator_info(node.op).commutative;
  for (size_t i = 0; i < inputs.size(); ++i)
    made.inputs.push_back(node.inputs[i].node == kNoNode ? -1 : value(inputs[i]));
  for (const Output& output : node.outputs) made.outputs.push_back(value(output.value_id));
  nodes_.push_back(std::move(made));
  return known->second;
}

EGraph::Seen EGraph::add(const State& state) {
  const Graph& graph = *state.graph();
  Seen seen;
  std::vector<Index> at_slot(graph.num_slots(), -1);
  for (size_t i = 0; i < graph.num_slots(); ++i) {
    const auto id = static_cast<NodeId>(i);
    if (!graph.is_live(id)) continue;
    at_slot[i] =
        add_node(graph.node(id), state.setting().costs->price(graph, id).ms, graph.is_commutative(),
                 [&](TensorRef t) { return graph.output(t).value_id; });
    seen.nodes.push_back(at_slot[i]);
  }
  for (const MatchPtr& match : state.matches()) {
    const auto [known, is_new] = known_matches_.try_emplace(match, -1);
    if (is_new) known->second = add_rewrite(state, *match, at_slot);
    seen.rewrites.push_back(known->second);
  }
  for (const GraphOutput& output : graph.outputs())
    seen.outputs.push_back(value(graph.output(output.tensor).value_id));
  return seen;
}

EGraph::Index EGraph::add_rewrite(const State& state, const Match& match,
                                  const std::vector<Index>& at_slot) {
  const Graph& graph = *state.graph();
  Plan plan;
  make_plan(graph, state.rule(match.rule), match.binding, plan);
  const auto node_of = [&](TensorRef t) -> const xflowrl::Node& {
    return is_planned(t) ? plan.added[planned_index(t)] : graph.node(t.node);
  };
  const auto id_of = [&](TensorRef t) { return node_of(t).outputs[at(t.output)].value_id; };
  Rewrite made{match.rule, {}, {}};
  Hasher hasher(11);
  hasher.add(match.rule);
  match.binding.for_each_node([&](NodeId id) { made.sources.push_back(at_slot[at(id)]); });
  for (size_t k = 0; k < plan.added.size(); ++k) {
    // What nobody would read has no price yet, where prices are measured.
    if (!plan.is_needed[k]) continue;
    const xflowrl::Node& node = plan.added[k];
    std::vector<Operand> operands;
    for (const TensorRef& t : node.inputs) {
      if (t.node == kNoNode) {
        operands.emplace_back();
      } else {
        const xflowrl::Node& producer = node_of(t);
        operands.push_back(
            {&producer.outputs[at(t.output)].type, producer.is_constant, producer.op});
      }
    }
    const double cost_ms = state.setting().costs->price(node, operands, graph.priced_sizes()).ms;
    made.targets.push_back(add_node(node, cost_ms, graph.is_commutative(), id_of));
  }
  for (const auto* nodes : {&made.sources, &made.targets}) {
    hasher.add(static_cast<int64_t>(nodes->size()));
    for (const Index node : *nodes) hasher.add(node);
  }
  for (const auto& [from, to] : plan.replaced) {
    const Index old_value = value(id_of(from)), new_value = value(id_of(to));
    hasher.add(old_value).add(new_value);
    if (old_value != new_value) equalities_.emplace_back(old_value, new_value);
  }
  const auto [known, is_new] =
      known_rewrites_.try_emplace(hasher.done(), static_cast<Index>(rewrites_.size()));
  if (is_new) rewrites_.push_back(std::move(made));
  return known->second;
}

}  // namespace xflowrl
