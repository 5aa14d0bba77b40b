// Finds the bindings of a rule's source in a graph.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "rewrite/binding.h"

namespace xflowrl {

// Counts why places that begin to match fail; the keys are sentences.
using Reasons = std::map<std::string, int>;

class Matcher {
 public:
  // `reasons` may be null. Neither argument is kept beyond the matcher's life.
  Matcher(const Graph& graph, bool is_commutative, Reasons* reasons = nullptr)
      : graph_(graph), is_commutative_(is_commutative), reasons_(reasons) {}

  // Lists the nodes at which a further part of a disconnected source may begin, by its entry.
  using Places = std::function<std::vector<NodeId>(int entry)>;
  void set_places(Places places) { places_ = std::move(places); }

  using Sink = std::function<void(const Binding&)>;
  // Calls `sink` for every binding whose anchor is `anchor`. Structure, attributes and guards hold;
  // inner results are used nowhere else. Convexity and the types of the target are not looked at.
  void match(const Rule& rule, NodeId anchor, const Sink& sink);

 private:
  struct Goal {
    const OperandPattern* operand;  // null: node pattern `node` must be graph node `tensor.node`
    int node;
    TensorRef tensor;
  };

  void solve(size_t next);
  void solve_tensor(const Goal& goal, size_t next);
  void bind_node(int pattern, TensorRef tensor, const OutputIndex* output, size_t next);
  void bind_operands(int pattern, const Node& node, size_t next);
  void spread(const NodePattern& pattern, std::span<const TensorRef> inputs, size_t p, size_t i,
              size_t next);
  void spread_each(const NodePattern& pattern, std::span<const TensorRef> inputs, size_t p,
                   size_t i, size_t next);
  void enter(size_t next);
  std::vector<NodeId> climb_to(const Climb& climb) const;
  void finish();

  bool attributes_match(const NodePattern& pattern, const Node& node);
  bool is_each_element(const NodePattern& pattern, NodeId id);
  bool list_replaced();
  bool is_closed() const;
  bool guards_hold();
  bool is_bound(NodeId id) const;
  void fail(const std::string& reason) {
    if (reasons_) ++(*reasons_)[reason];
  }

  const Graph& graph_;
  const bool is_commutative_;
  Reasons* reasons_;
  Places places_;
  const Rule* rule_ = nullptr;
  const Sink* sink_ = nullptr;
  std::vector<Goal> goals_;
  size_t entry_ = 0;
  Binding binding_;
  std::vector<TensorRef> replaced_;
  std::vector<char> attribute_bound_, attribute_set_bound_, sequence_bound_, tensor_bound_;
};

}  // namespace xflowrl
