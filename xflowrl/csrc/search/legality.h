// Convexity: whether applying a match would close a cycle.
#pragma once

#include "graph/path_changes.h"
#include "graph/reachability.h"
#include "rewrite/binding.h"

namespace xflowrl {

// Does no path leave the match and come back? Paths among constants count if asked to.
bool is_legal(const Graph& graph, const Rule& rule, const Binding& binding, bool with_constants,
              PathSearch& paths);

// May one of those paths have come or gone with a change?
bool may_concern(const PathChange& change, const Binding& binding);

}  // namespace xflowrl
