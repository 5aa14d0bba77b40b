// The network being optimised: an immutable DAG of operators whose versions share structure.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "graph/attributes.h"
#include "graph/hash.h"
#include "graph/operators.h"
#include "graph/persistent_vector.h"
#include "graph/priced_sizes.h"
#include "graph/tensor_type.h"

namespace xflowrl {

// A node's slot. It stays the same while rewrites leave the node alone, and is reused afterwards.
using NodeId = int32_t;
inline constexpr NodeId kNoNode = -1;

// Output `output` of node `node`; node == kNoNode: an omitted optional operand.
struct TensorRef {
  NodeId node = kNoNode;
  int32_t output = 0;
  auto operator<=>(const TensorRef&) const = default;
};

// A name from the imported model (>= 0) or one made by the k-th rewrite output (-1 - k).
using NameId = int64_t;

struct Output {
  TensorType type;
  Hash128 value_id;  // equal ids: equal functions of the inputs and weights
  NameId name = 0;
};

struct CustomOp {
  std::string domain, op_type;
};

struct Node {
  OpIndex op = kUnknownOp;
  bool is_opaque = false;                  // not in canonical form: no rule matches it
  bool is_constant = false;                // depends on constants alone
  bool is_original = false;                // of the model as it was built, not made by a rewrite
  int32_t created = 0;                     // order of creation, unique in a graph
  std::shared_ptr<const CustomOp> custom;  // only if op == kUnknownOp
  AttrsPtr attrs = Attrs::empty();
  std::shared_ptr<const Floats> literal;  // only if op == kLiteralOp
  std::vector<TensorRef> inputs;
  std::vector<Output> outputs;
  Hash128 signature;  // operator, attributes, types and constness of the operands

  bool is_leaf() const { return op >= 0 && op < kFirstOperator; }
  // Has its value id by its name: an input or a weight.
  bool is_named_leaf() const { return is_leaf() && op != kLiteralOp; }
  std::string_view op_type() const { return custom ? custom->op_type : operator_info(op).name; }
};
using NodePtr = std::shared_ptr<const Node>;

// One consumer of a tensor. node == kNoNode: graph output number `operand`.
struct Use {
  NodeId node;
  int32_t operand;
  int32_t output;  // of the producer
  auto operator<=>(const Use&) const = default;
};

struct GraphOutput {
  TensorRef tensor;
  std::string name;
};

class Graph {
 public:
  const std::string& name() const { return name_; }
  size_t num_slots() const { return slots_.size(); }
  bool is_live(NodeId id) const { return slots_[index(id)].node != nullptr; }
  const Node& node(NodeId id) const { return *slots_[index(id)].node; }
  std::span<const Use> uses(NodeId id) const { return *slots_[index(id)].uses; }
  const Output& output(TensorRef t) const {
    return node(t.node).outputs[static_cast<size_t>(t.output)];
  }
  const TensorType& type(TensorRef t) const { return output(t).type; }
  bool is_constant(TensorRef t) const { return node(t.node).is_constant; }
  // Above the levels of all it reads, and apart from that of no meaning: no path leads from a node
  // to one of its own level or below.
  int64_t level(NodeId id) const { return slots_[index(id)].level; }
  // Has it a node and its uses from another graph, as they are there?
  bool shares(const Graph& other, NodeId id) const {
    return index(id) < other.num_slots() &&
           slots_[index(id)].node == other.slots_[index(id)].node &&
           slots_[index(id)].uses == other.slots_[index(id)].uses;
  }
  std::vector<Operand> operands(const Node& reader) const;
  std::string tensor_name(TensorRef t) const { return name_of(output(t).name); }
  std::string name_of(NameId id) const;
  // Made by rewrites on the way here, in order, without the first `since`.
  std::vector<std::string> made_names(int32_t since) const;
  // Nothing if there is no such live tensor. The first time linear in the number of nodes.
  std::optional<TensorRef> find(std::string_view tensor_name) const;

  std::span<const NodeId> inputs() const { return inputs_; }
  std::span<const GraphOutput> outputs() const { return outputs_; }

  int num_operators() const { return num_operators_; }  // neither leaf nor constant
  int num_nodes() const { return num_nodes_; }          // leaves and constants' nodes included
  int32_t num_created() const { return next_created_; }
  // Order independent, of the live nodes' signatures and value ids.
  const Hash128& hash() const { return hash_; }
  // Of the structure that the outputs compute, by the names of the leaves alone.
  Hash128 merkle_hash() const;
  bool is_commutative() const { return is_commutative_; }
  // Null: priced at the sizes it has.
  const PricedSizes* priced_sizes() const { return priced_sizes_.get(); }

  // Live nodes, producers first; among ready ones the earliest created first.
  std::vector<NodeId> topological_order() const;

 private:
  friend class GraphEdit;
  friend struct Pickle;
  struct Slot {
    NodePtr node;
    std::shared_ptr<const std::vector<Use>> uses;
    int64_t level = 0;
  };
  // Made when it is first asked for, and then shared by copies.
  struct TensorsByName {
    std::once_flag once;
    std::unordered_map<std::string, TensorRef> tensors;
  };
  static size_t index(NodeId id) { return static_cast<size_t>(id); }

  std::string name_;
  PersistentVector<Slot> slots_;
  std::vector<NodeId> free_slots_;
  std::vector<NodeId> inputs_;
  std::vector<GraphOutput> outputs_;
  std::shared_ptr<const std::vector<std::string>> names_ =
      std::make_shared<const std::vector<std::string>>();
  std::string generated_prefix_ = "rewritten_";
  std::shared_ptr<const PricedSizes> priced_sizes_;
  NameId num_generated_ = 0;
  int32_t next_created_ = 0;
  int num_operators_ = 0;
  int num_nodes_ = 0;
  bool is_commutative_ = false;
  Hash128 hash_;
  std::shared_ptr<TensorsByName> by_name_ = std::make_shared<TensorsByName>();
};

// Sets constness and signature from the operands.
void sign(Node& node, Operands operands);
// The value id of one output from the ids of the operands.
Hash128 derived_value_id(const Node& node, std::span<const Hash128> inputs, int output,
                         bool is_commutative);
// What a node adds to the hash of its graph.
Hash128 node_contribution(const Node& node, std::span<const Hash128> inputs, bool is_commutative);

}  // namespace xflowrl
