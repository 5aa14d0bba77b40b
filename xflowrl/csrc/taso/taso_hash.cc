#include "taso/taso_hash.h"

#include <algorithm>
#include <tuple>

namespace xflowrl {
namespace {

// Every leaf has one edge from a fixed pseudo-node.
constexpr uint64_t kPseudoKey = 0x5851f42d4c957f2dULL;

struct Edge {
  int64_t created;  // twice the creation number of the producer
  uint64_t key;     // of the producer
  int source_index, operand;
};

// One number per operator, attributes and operand types; a leaf is itself alone.
uint64_t key_of(const Node& node, const NodeOf& node_of) {
  Hasher hasher(7);
  hasher.add(node.op_type()).add(node.attrs->hash());
  for (const TensorRef& t : node.inputs) {
    if (t.node == kNoNode)
      hasher.add(0);
    else
      node_of(t).outputs[static_cast<size_t>(t.output)].type.hash_into(hasher);
  }
  if (node.is_leaf()) hasher.add(node.outputs[0].value_id);
  return hasher.done().lo;
}

}  // namespace

bool has_pool_weight(const Node& node) {
  const std::string_view op = node.op_type();
  return op == "MaxPool" || op == "AveragePool" || op == "GlobalAveragePool" ||
         op == "GlobalMaxPool";
}

uint64_t taso_contribution(const Node& node, const NodeOf& node_of) {
  std::vector<Edge> edges;
  for (size_t k = 0; k < node.inputs.size(); ++k) {
    const TensorRef t = node.inputs[k];
    if (t.node == kNoNode) continue;
    const Node& producer = node_of(t);
    edges.push_back(
        {2 * int64_t{producer.created}, key_of(producer, node_of), t.output, static_cast<int>(k)});
  }
  if (node.is_leaf()) edges = {{0, kPseudoKey, 0, 0}};
  if (has_pool_weight(node)) {
    const uint64_t weight = Hasher(8).add(node.outputs[0].value_id).done().lo;
    edges.push_back({2 * int64_t{node.created} - 1, weight, 0, 1});
  }
  std::sort(edges.begin(), edges.end(), [](const Edge& a, const Edge& b) {
    return std::tuple(a.created, a.source_index, a.operand) <
           std::tuple(b.created, b.source_index, b.operand);
  });
  uint64_t h = 17 * 31 + key_of(node, node_of);
  for (const Edge& edge : edges) {
    h = h * 31 + edge.key;
    h = h * 31 + static_cast<uint64_t>(edge.source_index);
    h = h * 31 + static_cast<uint64_t>(edge.operand);
  }
  return h;
}

uint64_t taso_hash(const Graph& graph) {
  const NodeOf node_of = [&](TensorRef t) -> const Node& { return graph.node(t.node); };
  uint64_t sum = 0;
  for (size_t i = 0; i < graph.num_slots(); ++i) {
    const auto id = static_cast<NodeId>(i);
    if (graph.is_live(id)) sum += taso_contribution(graph.node(id), node_of);
  }
  return sum;
}

}  // namespace xflowrl
