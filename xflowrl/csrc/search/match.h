// A rule bound to one place of a graph.
#pragma once

#include <cmath>
#include <memory>
#include <vector>

#include "rewrite/binding.h"
#include "search/delta.h"

namespace xflowrl {

// A rule bound to one place of a graph, and what applying it changes.
struct Match {
  int rule = 0;
  Binding binding;
  Delta delta;
  std::vector<int32_t> key;  // rule and creation numbers of what it binds: the order of listing

  bool is_priced() const { return !std::isnan(delta.cost.ms); }
  // Does what it changes stay the same while its neighbours do?
  bool is_settled() const { return delta.is_local && is_priced(); }
};
using MatchPtr = std::shared_ptr<const Match>;

}  // namespace xflowrl
