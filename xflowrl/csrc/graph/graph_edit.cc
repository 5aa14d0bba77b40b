#include "graph/graph_edit.h"

#include <algorithm>
#include <utility>

namespace xflowrl {
namespace {

constexpr int64_t kLevelStep = int64_t{1} << 32;

}  // namespace

GraphEdit GraphEdit::empty_like(const Graph& graph) {
  Graph empty;
  empty.name_ = graph.name_;
  empty.names_ = graph.names_;
  empty.generated_prefix_ = graph.generated_prefix_;
  empty.priced_sizes_ = graph.priced_sizes_;
  empty.num_generated_ = graph.num_generated_;
  empty.next_created_ = graph.next_created_;
  empty.is_commutative_ = graph.is_commutative_;
  return GraphEdit(std::move(empty));
}

void GraphEdit::set_names(std::vector<std::string> names) {
  // Names made by rewrites must differ from the model's own.
  std::string& prefix = graph_.generated_prefix_;
  const auto clashes = [&](const std::string& name) { return name.starts_with(prefix); };
  const auto output_clashes = [&](const GraphOutput& output) { return clashes(output.name); };
  while (std::any_of(names.begin(), names.end(), clashes) ||
         std::any_of(graph_.outputs_.begin(), graph_.outputs_.end(), output_clashes))
    prefix = "_" + prefix;
  graph_.names_ = std::make_shared<const std::vector<std::string>>(std::move(names));
}

std::vector<Hash128> GraphEdit::input_ids(const Node& node) const {
  std::vector<Hash128> ids;
  ids.reserve(node.inputs.size());
  for (const TensorRef& t : node.inputs)
    ids.push_back(t.node == kNoNode ? Hash128{} : graph_.output(t).value_id);
  return ids;
}

Hash128 GraphEdit::contribution(const Node& node) const {
  return node_contribution(node, input_ids(node), graph_.is_commutative_);
}

void GraphEdit::count(const Node& node, int sign) {
  graph_.num_nodes_ += sign;
  if (!node.is_leaf() && !node.is_constant) graph_.num_operators_ += sign;
}

NodeId GraphEdit::add_with_value_ids(Node node) {
  const int32_t created = node.created;
  return insert(std::move(node), created, false);
}

NodeId GraphEdit::insert(Node node, std::optional<int32_t> created, bool derive_all_ids) {
  node.created = created ? *created : graph_.next_created_++;
  sign(node, graph_.operands(node));
  const std::vector<Hash128> ids = input_ids(node);
  for (size_t k = 0; k < node.outputs.size(); ++k) {
    Hash128& id = node.outputs[k].value_id;
    if (derive_all_ids || id == Hash128{})
      id = derived_value_id(node, ids, static_cast<int>(k), graph_.is_commutative_);
  }
  NodeId id;
  if (graph_.free_slots_.empty()) {
    id = static_cast<NodeId>(graph_.slots_.size());
    graph_.slots_.resize(graph_.slots_.size() + 1);
  } else {
    id = graph_.free_slots_.back();
    graph_.free_slots_.pop_back();
  }
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    if (node.inputs[i].node != kNoNode)
      add_use(node.inputs[i], {id, static_cast<int32_t>(i), node.inputs[i].output});
  }
  graph_.hash_ += node_contribution(node, ids, graph_.is_commutative_);
  count(node, 1);
  static const auto kNoUses = std::make_shared<const std::vector<Use>>();
  const int64_t level = lowest_level(node);
  graph_.slots_.mut(Graph::index(id)) = {std::make_shared<const Node>(std::move(node)), kNoUses,
                                         level};
  touched_.push_back(id);
  return id;
}

int64_t GraphEdit::lowest_level(const Node& node) const {
  int64_t level = 0;
  for (const TensorRef& t : node.inputs) {
    if (t.node != kNoNode) level = std::max(level, graph_.level(t.node) + kLevelStep);
  }
  return level;
}

// Lifts a node above one that it reads, and what reads it above it. Levels have room between them,
// so that this ends after a few nodes.
void GraphEdit::lift_above(NodeId below, NodeId id) {
  std::vector<std::pair<NodeId, NodeId>> edges{{below, id}};
  while (!edges.empty()) {
    const auto [from, to] = edges.back();
    edges.pop_back();
    if (graph_.level(to) > graph_.level(from)) continue;
    graph_.slots_.mut(Graph::index(to)).level = graph_.level(from) + 1;
    touched_.push_back(to);
    for (const Use& use : graph_.uses(to)) {
      if (use.node != kNoNode) edges.emplace_back(to, use.node);
    }
  }
}

void GraphEdit::add_graph_output(TensorRef tensor, std::string name) {
  add_use(tensor, {kNoNode, static_cast<int32_t>(graph_.outputs_.size()), tensor.output});
  graph_.outputs_.push_back({tensor, std::move(name)});
}

void GraphEdit::set_uses(NodeId id, std::vector<Use> uses) {
  graph_.slots_.mut(Graph::index(id)).uses =
      std::make_shared<const std::vector<Use>>(std::move(uses));
  touched_.push_back(id);
}

void GraphEdit::add_use(TensorRef tensor, Use use) {
  std::vector<Use> uses(graph_.uses(tensor.node).begin(), graph_.uses(tensor.node).end());
  uses.push_back(use);
  set_uses(tensor.node, std::move(uses));
}

void GraphEdit::drop_use(TensorRef tensor, const Use& use) {
  std::vector<Use> uses(graph_.uses(tensor.node).begin(), graph_.uses(tensor.node).end());
  std::erase(uses, use);
  set_uses(tensor.node, std::move(uses));
}

void GraphEdit::redirect(TensorRef from, TensorRef to) {
  std::vector<Use> kept, moved;
  for (const Use& use : graph_.uses(from.node))
    (use.output == from.output ? moved : kept).push_back(use);
  if (moved.empty()) return;
  set_uses(from.node, std::move(kept));
  std::vector<Use> uses(graph_.uses(to.node).begin(), graph_.uses(to.node).end());
  for (const Use& use : moved) uses.push_back({use.node, use.operand, to.output});
  set_uses(to.node, std::move(uses));
  for (const Use& use : moved) {
    if (use.node == kNoNode) {
      graph_.outputs_[static_cast<size_t>(use.operand)].tensor = to;
      continue;
    }
    auto& slot = graph_.slots_.mut(Graph::index(use.node));
    Node copy = *slot.node;
    copy.inputs[static_cast<size_t>(use.operand)] = to;
    graph_.hash_ -= contribution(*slot.node);
    graph_.hash_ += contribution(copy);
    slot.node = std::make_shared<const Node>(std::move(copy));
    lift_above(to.node, use.node);
    refresh(use.node);
  }
}

// Recomputes constness and signature of a rewired node; what changes is passed on to its consumers.
void GraphEdit::refresh(NodeId id) {
  touched_.push_back(id);
  Node copy = graph_.node(id);
  sign(copy, graph_.operands(copy));
  if (copy.signature == graph_.node(id).signature &&
      copy.is_constant == graph_.node(id).is_constant)
    return;
  const bool spreads = copy.is_constant != graph_.node(id).is_constant;
  count(graph_.node(id), -1);
  count(copy, 1);
  graph_.slots_.mut(Graph::index(id)).node = std::make_shared<const Node>(std::move(copy));
  if (!spreads) return;
  const std::vector<Use> uses(graph_.uses(id).begin(), graph_.uses(id).end());
  for (const Use& use : uses) {
    if (use.node != kNoNode) refresh(use.node);
  }
}

void GraphEdit::remove_if_dead(NodeId id) {
  std::vector<NodeId> suspects{id};
  while (!suspects.empty()) {
    const NodeId suspect = suspects.back();
    suspects.pop_back();
    if (!graph_.is_live(suspect) || !graph_.uses(suspect).empty()) continue;
    const NodePtr node = graph_.slots_[Graph::index(suspect)].node;
    if (node->op == kInputOp) continue;
    for (size_t i = 0; i < node->inputs.size(); ++i) {
      const TensorRef t = node->inputs[i];
      if (t.node == kNoNode) continue;
      drop_use(t, {suspect, static_cast<int32_t>(i), t.output});
      suspects.push_back(t.node);
    }
    graph_.hash_ -= contribution(*node);
    count(*node, -1);
    graph_.slots_.mut(Graph::index(suspect)) = {};
    touched_.push_back(suspect);
    graph_.free_slots_.push_back(suspect);
  }
}

std::vector<NodeId> GraphEdit::touched() const {
  std::vector<NodeId> ids = touched_;
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

Graph with_commutative_hash(const Graph& graph, bool is_commutative) {
  if (is_commutative == graph.is_commutative()) return graph;
  GraphEdit edit = GraphEdit::empty_like(graph);
  edit.set_commutative(is_commutative);
  std::vector<NodeId> moved(graph.num_slots(), kNoNode);
  const auto new_id = [&](NodeId id) -> NodeId& { return moved[static_cast<size_t>(id)]; };
  for (const NodeId id : graph.topological_order()) {
    Node copy = graph.node(id);
    for (TensorRef& t : copy.inputs) {
      if (t.node != kNoNode) t.node = new_id(t.node);
    }
    new_id(id) =
        copy.is_named_leaf() ? edit.add_with_value_ids(std::move(copy)) : edit.add(std::move(copy));
  }
  for (const NodeId id : graph.inputs()) edit.add_graph_input(new_id(id));
  for (const GraphOutput& out : graph.outputs())
    edit.add_graph_output({new_id(out.tensor.node), out.tensor.output}, out.name);
  return edit.finish();
}

}  // namespace xflowrl
