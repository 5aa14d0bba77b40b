#include "graph/graph.h"

#include <algorithm>
#include <functional>
#include <queue>

namespace xflowrl {
namespace {

// The ids of the operands; of a commutative operator in an order that does not depend on theirs.
void hash_operands(Hasher& hasher, const Node& node, std::span<const Hash128> inputs,
                   bool is_commutative) {
  if (is_commutative && inputs.size() == 2 && node.op >= 0 && operator_info(node.op).commutative) {
    hasher.add(std::min(inputs[0], inputs[1])).add(std::max(inputs[0], inputs[1]));
    return;
  }
  for (const Hash128& id : inputs) hasher.add(id);
}

// What hashers absorb first, so that they differ.
enum Tag : size_t { kSignature = 1, kValueId, kContribution, kMerkle, kNumTags };

// Has absorbed the tag and the operator; names of the table are hashed once.
Hasher hash_operator(Tag tag, const Node& node) {
  static const auto kNamed = [] {
    std::vector<Hasher> named;
    for (const OperatorInfo& info : operator_table()) {
      for (size_t t = 0; t < kNumTags; ++t)
        named.push_back(Hasher(t).add(std::string_view(info.name)));
    }
    return named;
  }();
  Hasher hasher = node.custom ? Hasher(tag)
                                    .add(std::string_view(node.custom->domain))
                                    .add(std::string_view(node.custom->op_type))
                              : kNamed[static_cast<size_t>(node.op) * kNumTags + tag];
  return hasher.add(node.is_opaque ? 1 : 0).add(node.attrs->hash());
}

Hash128 signature_of(const Node& node, Operands operands) {
  Hasher hasher = hash_operator(kSignature, node);
  for (const Operand& operand : operands) {
    hasher.add(!operand ? 0 : operand.is_constant ? 1 : 2);
    if (operand) operand->hash_into(hasher);
  }
  for (const Output& output : node.outputs) output.type.hash_into(hasher);
  return hasher.done();
}

}  // namespace

void sign(Node& node, Operands operands) {
  if (node.is_leaf()) {
    node.is_constant = node.op != kInputOp;
  } else {
    // A node without operands may draw random numbers: only what is folded from constants is one.
    node.is_constant =
        !operands.empty() && !node.is_opaque &&
        std::ranges::all_of(operands, [](const Operand& o) { return o.is_constant || !o; });
  }
  node.signature = signature_of(node, operands);
}

Hash128 derived_value_id(const Node& node, std::span<const Hash128> inputs, int output,
                         bool is_commutative) {
  Hasher hasher = hash_operator(kValueId, node);
  if (node.literal) {
    node.outputs[0].type.hash_into(hasher);
    for (double value : *node.literal) hasher.add(value);
  }
  hash_operands(hasher, node, inputs, is_commutative);
  return hasher.add(output).done();
}

Hash128 node_contribution(const Node& node, std::span<const Hash128> inputs, bool is_commutative) {
  // Constness is left out of the hash on purpose: it follows from the operands.
  Hasher hasher = hash_operator(kContribution, node);
  hash_operands(hasher, node, inputs, is_commutative);
  for (const Output& output : node.outputs) hasher.add(output.value_id);
  return hasher.done();
}

std::string Graph::name_of(NameId id) const {
  return id >= 0 ? (*names_)[static_cast<size_t>(id)] : generated_prefix_ + std::to_string(-1 - id);
}

std::vector<std::string> Graph::made_names(int32_t since) const {
  std::vector<std::string> made;
  for (NameId i = std::max(since, 0); i < num_generated_; ++i) made.push_back(name_of(-1 - i));
  return made;
}

std::optional<TensorRef> Graph::find(std::string_view tensor_name) const {
  auto& tensors = by_name_->tensors;
  std::call_once(by_name_->once, [&] {
    for (size_t i = 0; i < slots_.size(); ++i) {
      const NodePtr& node = slots_[i].node;
      if (!node) continue;
      for (size_t k = 0; k < node->outputs.size(); ++k)
        tensors.try_emplace(name_of(node->outputs[k].name),
                            TensorRef{static_cast<NodeId>(i), static_cast<int32_t>(k)});
    }
  });
  const auto found = tensors.find(std::string(tensor_name));
  if (found == tensors.end()) return std::nullopt;
  return found->second;
}

std::vector<Operand> Graph::operands(const Node& reader) const {
  std::vector<Operand> operands;
  operands.reserve(reader.inputs.size());
  for (const TensorRef& t : reader.inputs)
    operands.push_back(t.node == kNoNode ? Operand{}
                                         : Operand{&type(t), is_constant(t), node(t.node).op});
  return operands;
}

std::vector<NodeId> Graph::topological_order() const {
  using Ready = std::pair<int32_t, NodeId>;
  std::priority_queue<Ready, std::vector<Ready>, std::greater<>> ready;
  std::vector<int32_t> missing(slots_.size(), 0);
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (!slots_[i].node) continue;
    for (const TensorRef& t : slots_[i].node->inputs) missing[i] += t.node != kNoNode;
    if (missing[i] == 0) ready.emplace(slots_[i].node->created, static_cast<NodeId>(i));
  }
  std::vector<NodeId> order;
  order.reserve(static_cast<size_t>(num_nodes_));
  while (!ready.empty()) {
    const NodeId id = ready.top().second;
    ready.pop();
    order.push_back(id);
    for (const Use& use : uses(id)) {
      if (use.node != kNoNode && --missing[index(use.node)] == 0)
        ready.emplace(node(use.node).created, use.node);
    }
  }
  return order;
}

Hash128 Graph::merkle_hash() const {
  std::vector<std::vector<Hash128>> ids(slots_.size());
  std::vector<Hash128> operands;
  for (const NodeId id : topological_order()) {
    const Node& n = node(id);
    operands.clear();
    for (const TensorRef& t : n.inputs) {
      operands.push_back(t.node == kNoNode ? Hash128{}
                                           : ids[index(t.node)][static_cast<size_t>(t.output)]);
    }
    for (size_t k = 0; k < n.outputs.size(); ++k) {
      ids[index(id)].push_back(
          n.is_named_leaf() ? n.outputs[k].value_id
                            : derived_value_id(n, operands, static_cast<int>(k), is_commutative_));
    }
  }
  Hasher hasher(kMerkle);
  for (const GraphOutput& out : outputs_)
    hasher.add(ids[index(out.tensor.node)][static_cast<size_t>(out.tensor.output)]);
  return hasher.done();
}

}  // namespace xflowrl
