// What applying a rule at one place would do, worked out without building the new graph.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "rewrite/binding.h"

namespace xflowrl {

// In a plan, TensorRef{-2 - k, i} is output i of the k-th node to be added.
inline TensorRef planned_ref(size_t k, int32_t output) {
  return {-2 - static_cast<NodeId>(k), output};
}
inline bool is_planned(TensorRef t) { return t.node <= -2; }
inline size_t planned_index(TensorRef t) { return static_cast<size_t>(-2 - t.node); }

struct Plan {
  std::vector<Node> added;      // names are chosen when the plan is carried out, unless inherited
  std::vector<char> has_name;   // per output of all added nodes, in order
  std::vector<char> is_needed;  // per added node; what nobody would read is left out
  std::vector<std::pair<TensorRef, TensorRef>> replaced;  // old tensor, new tensor
  std::vector<NodeId> removed;  // matched nodes first, then what dies with them
};

// Returns nullptr, or why the rule does not apply here (static text): types of the target do not
// fit, or a replaced tensor would change its type.
const char* make_plan(const Graph& graph, const Rule& rule, const Binding& binding, Plan& plan);

// Carries the plan out. `touched` receives the nodes that changed (see GraphEdit::touched).
Graph carry_out(const Graph& graph, const Plan& plan, std::vector<NodeId>& touched);

}  // namespace xflowrl
