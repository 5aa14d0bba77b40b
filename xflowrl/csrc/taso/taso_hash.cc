#include "taso/taso_hash.h"

#include <algorithm>
#include <tuple>

namespace xflowrl {
namespace {

// Every leaf has one edge from a fixed pseudo-node.
constexpr uint64_t kPseudoKey = 0x5851f42d4c957f2dULL;

std::vector<const TensorType*> operand_types(const Graph& graph, const Node& node) {
  std::vector<const TensorType*> types;
  for (const TensorRef& t : node.inputs)
    types.push_back(t.node == kNoNode ? nullptr : &graph.type(t));
  return types;
}

}  // namespace

uint64_t taso_key(const Node& node, OperandTypes inputs) {
  Hasher hasher(7);
  hasher.add(node.op_type()).add(node.attrs->hash());
  for (const TensorType* type : inputs) {
    if (type)
      type->hash_into(hasher);
    else
      hasher.add(0);
  }
  if (node.is_leaf()) hasher.add(node.outputs[0].value_id);
  return hasher.done().lo;
}

bool has_pool_weight(const Node& node) {
  const std::string_view op = node.op_type();
  return op == "MaxPool" || op == "AveragePool" || op == "GlobalAveragePool" ||
         op == "GlobalMaxPool";
}

uint64_t taso_fold(const Node& node, uint64_t key, std::vector<TasoEdge>& edges) {
  if (node.is_leaf()) edges = {{0, kPseudoKey, 0, 0}};
  if (has_pool_weight(node)) {
    const uint64_t weight = Hasher(8).add(node.outputs[0].value_id).done().lo;
    edges.push_back({2 * int64_t{node.created} - 1, weight, 0, 1});
  }
  std::sort(edges.begin(), edges.end(), [](const TasoEdge& a, const TasoEdge& b) {
    return std::tuple(a.created, a.source_index, a.operand) <
           std::tuple(b.created, b.source_index, b.operand);
  });
  uint64_t h = 17 * 31 + key;
  for (const TasoEdge& edge : edges) {
    h = h * 31 + edge.key;
    h = h * 31 + static_cast<uint64_t>(edge.source_index);
    h = h * 31 + static_cast<uint64_t>(edge.operand);
  }
  return h;
}

uint64_t taso_contribution(const Graph& graph, const Node& node) {
  std::vector<TasoEdge> edges;
  for (size_t k = 0; k < node.inputs.size(); ++k) {
    const TensorRef t = node.inputs[k];
    if (t.node == kNoNode) continue;
    const Node& producer = graph.node(t.node);
    edges.push_back({2 * int64_t{producer.created},
                     taso_key(producer, operand_types(graph, producer)), t.output,
                     static_cast<int>(k)});
  }
  return taso_fold(node, taso_key(node, operand_types(graph, node)), edges);
}

uint64_t taso_hash(const Graph& graph) {
  uint64_t sum = 0;
  for (size_t i = 0; i < graph.num_slots(); ++i) {
    const auto id = static_cast<NodeId>(i);
    if (graph.is_live(id)) sum += taso_contribution(graph, graph.node(id));
  }
  return sum;
}

}  // namespace xflowrl
