// The replaced and the replacing tensors of a rule at one place of a graph.
#pragma once

#include "rewrite/binding.h"

namespace xflowrl {

// The tensors that a source or target list stands for. `nodes[i]`: the graph nodes of pattern node
// i (several for an `each`). Returns false if a range or index has no value.
bool list_tensors(const Pattern& pattern, const Graph& graph, const Binding& binding,
                  const std::vector<std::vector<NodeId>>& nodes,
                  const std::vector<int>& num_outputs, std::vector<TensorRef>& tensors);

}  // namespace xflowrl
