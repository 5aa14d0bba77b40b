// Whether a match is still there after rewrites elsewhere.
#pragma once

#include "rewrite/binding.h"

namespace xflowrl {

// Are the nodes that a binding of a graph binds still there in one that rewrites made of it?
bool are_there(const Binding& binding, const Graph& before, const Graph& graph);

// Do two bindings bind the same nodes?
bool has_same_nodes(const Binding& a, const Binding& b);

// Do they bind tensors of the same names? What replaces a tensor has its name.
bool has_same_names(const Binding& a, const Graph& before, const Binding& b, const Graph& graph);

}  // namespace xflowrl
