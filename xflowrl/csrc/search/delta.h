// What a plan changes: costs, hashes and counts, from the touched nodes alone.
#pragma once

#include "cost/cost_table.h"
#include "rewrite/plan.h"

namespace xflowrl {

// Differences that the rewrite makes. What depends on producers beyond the neighbours of the match
// is marked, for it changes without any of them being touched.
struct Delta {
  Cost cost;
  Hash128 hash;  // to be added to the graph's
  uint64_t taso_hash = 0;
  int num_operators = 0;
  int num_nodes = 0;  // leaves and constants' nodes included
  bool is_local = true;
};

// Works out what `plan` changes; appends to its removed nodes what dies with them.
Delta compute_delta(const Graph& graph, Plan& plan, CostTable& costs, bool with_taso_hash);

}  // namespace xflowrl
