// A graph under change. It keeps uses, hash, counts and constness right, and notes what it touched.
#pragma once

#include <vector>

#include "graph/graph.h"

namespace xflowrl {

class GraphEdit {
 public:
  explicit GraphEdit(Graph graph) : graph_(std::move(graph)) {
    graph_.by_name_ = std::make_shared<Graph::TensorsByName>();  // the old one is of the old graph
  }
  // No nodes yet, but the name tables and counters of `graph`.
  static GraphEdit empty_like(const Graph& graph);

  void set_name(std::string name) { graph_.name_ = std::move(name); }
  void price_at(PricedSizes sizes) {
    graph_.priced_sizes_ = std::make_shared<const PricedSizes>(std::move(sizes));
  }
  void set_names(std::vector<std::string> names);
  void set_commutative(bool value) { graph_.is_commutative_ = value; }
  NameId new_name() { return -1 - graph_.num_generated_++; }

  // Adds a node; its creation number, constness, signature and value ids are computed here.
  NodeId add(Node node) { return insert(std::move(node), {}, true); }
  // Outputs whose value id is given (not zero) keep it: they replace an equal tensor.
  NodeId add_inheriting(Node node) { return insert(std::move(node), {}, false); }
  // Value ids and creation number are kept too.
  NodeId add_with_value_ids(Node node);
  void add_graph_input(NodeId id) { graph_.inputs_.push_back(id); }
  void add_graph_output(TensorRef tensor, std::string name);

  // Lets every consumer of `from`, graph outputs included, read `to`.
  void redirect(TensorRef from, TensorRef to);
  // Removes the node if nothing consumes it, and then its producers likewise. Inputs stay.
  void remove_if_dead(NodeId id);

  const Graph& graph() const { return graph_; }
  // Nodes that were added, removed, rewired, or whose consumers, constness or level changed.
  std::vector<NodeId> touched() const;
  Graph finish() { return std::move(graph_); }

 private:
  NodeId insert(Node node, std::optional<int32_t> created, bool derive_all_ids);
  void refresh(NodeId id);
  int64_t lowest_level(const Node& node) const;
  void lift_above(NodeId below, NodeId id);
  void set_uses(NodeId id, std::vector<Use> uses);
  void add_use(TensorRef tensor, Use use);
  void drop_use(TensorRef tensor, const Use& use);
  void count(const Node& node, int sign);
  Hash128 contribution(const Node& node) const;
  std::vector<Hash128> input_ids(const Node& node) const;

  Graph graph_;
  std::vector<NodeId> touched_;
};

// The same graph with operands of commutative operators hashed in any order, or not.
Graph with_commutative_hash(const Graph& graph, bool is_commutative);

}  // namespace xflowrl
