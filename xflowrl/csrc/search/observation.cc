#include "search/observation.h"

#include <algorithm>
#include <array>
#include <unordered_map>

namespace xflowrl {
namespace {

void append_shape(const TensorType& type, std::vector<int64_t>& column) {
  const int width = static_cast<int>(Observation::kShapeColumns);
  for (int i = 0; i < width; ++i) {
    const int axis = type.rank() - width + i;
    column.push_back(axis < 0 ? 1 : type.dim(axis));
  }
  // What a longer shape has in front is multiplied into the first column.
  for (int axis = 0; axis < type.rank() - width; ++axis)
    column[column.size() - Observation::kShapeColumns] *= type.dim(axis);
}

int32_t activation_index(const Node& node) {
  const AttrValue* value = node.attrs->find("activation");
  const std::string* name = value && !node.is_opaque ? std::get_if<std::string>(value) : nullptr;
  if (!name) return 0;
  const auto names = activation_names();
  const auto found = std::find(names.begin(), names.end(), *name);
  return found == names.end() ? 0 : static_cast<int32_t>(found - names.begin());
}

// Prices of a graph's nodes, asked for once where they follow from signatures: most nodes have
// twins.
class Prices {
 public:
  Prices(const Graph& graph, CostTable& costs) : graph_(graph), costs_(costs) {}

  Cost of(NodeId id) {
    const Node& node = graph_.node(id);
    if (node.is_leaf() || costs_.reads_producers()) return costs_.price(graph_, id);
    const auto [found, is_new] = known_[node.is_original ? 1 : 0].try_emplace(node.signature);
    if (is_new) found->second = costs_.price(graph_, id);
    return found->second;
  }

 private:
  const Graph& graph_;
  CostTable& costs_;
  std::array<std::unordered_map<Hash128, Cost, HashOfHash>, 2> known_;
};

}  // namespace

Observation make_observation(const State& state) {
  const Graph& graph = *state.graph();
  Observation o;
  std::vector<NodeId> rows;
  for (size_t i = 0; i < graph.num_slots(); ++i) {
    const auto id = static_cast<NodeId>(i);
    if (graph.is_live(id) && !graph.node(id).is_constant) rows.push_back(id);
  }
  std::sort(rows.begin(), rows.end(),
            [&](NodeId a, NodeId b) { return graph.node(a).created < graph.node(b).created; });
  std::vector<int32_t> row_of(graph.num_slots(), -1);
  for (size_t r = 0; r < rows.size(); ++r)
    row_of[static_cast<size_t>(rows[r])] = static_cast<int32_t>(r);

  Prices prices(graph, *state.setting().costs);
  o.node_shape.reserve(Observation::kShapeColumns * rows.size());
  o.edge_shape.reserve(Observation::kShapeColumns * rows.size());
  for (size_t r = 0; r < rows.size(); ++r) {
    const NodeId id = rows[r];
    const Node& node = graph.node(id);
    const Cost cost = prices.of(id);
    o.node_op.push_back(node.op == kUnknownOp ? static_cast<int32_t>(operator_table().size())
                                              : node.op);
    o.node_flops.push_back(cost.flops);
    o.node_bytes.push_back(cost.bytes);
    o.node_cost_ms.push_back(cost.ms);
    o.node_activation.push_back(activation_index(node));
    append_shape(node.outputs[0].type, o.node_shape);
    int32_t num_constants = 0;
    for (size_t k = 0; k < node.inputs.size(); ++k) {
      const TensorRef t = node.inputs[k];
      if (t.node == kNoNode) continue;
      if (graph.is_constant(t)) {
        ++num_constants;
        continue;
      }
      o.edge_src.push_back(row_of[static_cast<size_t>(t.node)]);
      o.edge_dst.push_back(static_cast<int32_t>(r));
      o.edge_operand.push_back(static_cast<int32_t>(k));
      append_shape(graph.type(t), o.edge_shape);
    }
    o.node_num_constants.push_back(num_constants);
    const auto uses = graph.uses(id);
    o.node_is_output.push_back(
        std::any_of(uses.begin(), uses.end(), [](const Use& u) { return u.node == kNoNode; }) ? 1
                                                                                              : 0);
  }
  o.match_node_ptr.push_back(0);
  // All columns at once: matches lie all over the memory.
  for (const MatchPtr& match : state.matches()) {
    o.match_rule.push_back(match->rule);
    o.match_size.push_back(match->delta.num_operators);
    o.match_kernels.push_back(match->delta.cost.kernels);
    o.match_cost_ms.push_back(match->delta.cost.ms);
    o.match_flops.push_back(match->delta.cost.flops);
    o.match_bytes.push_back(match->delta.cost.bytes);
    match->binding.for_each_node([&](NodeId id) {
      if (row_of[static_cast<size_t>(id)] >= 0)
        o.match_node.push_back(row_of[static_cast<size_t>(id)]);
    });
    o.match_node_ptr.push_back(static_cast<int32_t>(o.match_node.size()));
  }
  return o;
}

}  // namespace xflowrl
