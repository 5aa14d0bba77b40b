#include "search.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "taso_hash.h"

namespace xflowrl {

BacktrackingSearch::BacktrackingSearch(std::shared_ptr<State> initial, double alpha,
                                       double size_limit, bool use_taso_hash)
    : alpha_(alpha),
      size_limit_(size_limit),
      use_taso_hash_(use_taso_hash),
      initial_num_nodes_(initial->graph().num_nodes()),
      current_cost_ms_(initial->cost().ms) {
  if (!(alpha >= 1))
    throw std::invalid_argument("alpha is " + std::to_string(alpha) + "; it must be at least 1");
  if (!(size_limit > 1))
    throw std::invalid_argument("size_limit is " + std::to_string(size_limit) +
                                "; it must be above 1");
  if (use_taso_hash && !initial->setting().with_taso_hash)
    throw std::invalid_argument("the state was made without TASO's hash; pass taso_hash=True");
  // TASO counts its pools' weights as nodes too.
  const Graph& graph = initial->graph();
  for (size_t i = 0; use_taso_hash && i < graph.num_slots(); ++i) {
    const auto id = static_cast<NodeId>(i);
    num_pool_weights_ += graph.is_live(id) && has_pool_weight(graph.node(id));
  }
  seen_.insert(hash_after(*initial, nullptr));
  best_ = prepared_ =
      std::make_shared<const Visited>(Visited{nullptr, std::move(initial), nullptr});
}

Hash128 BacktrackingSearch::hash_after(const State& state, const Match* match) const {
  if (use_taso_hash_) return {0, state.taso_hash() + (match ? match->delta.taso_hash : 0)};
  Hash128 hash = state.graph().hash();
  if (match) hash += match->delta.hash;
  return hash;
}

bool BacktrackingSearch::prepare() {
  if (prepared_) return true;
  if (queue_.empty()) return false;
  const Queued next = queue_.top();
  queue_.pop();
  auto state = std::make_shared<State>(next.parent->state->apply(*next.match));
  prepared_ = std::make_shared<const Visited>(Visited{next.parent, std::move(state), next.match});
  return true;
}

bool BacktrackingSearch::expand() {
  if (!prepare()) return false;
  const std::shared_ptr<const Visited> here = std::move(prepared_);
  prepared_ = nullptr;
  State& state = *here->state;
  state.refresh();
  current_cost_ms_ = state.cost().ms;
  if (current_cost_ms_ < best_cost_ms() || std::isnan(best_cost_ms())) best_ = here;
  const double limit = best_cost_ms() * alpha_;
  for (const MatchPtr& match : state.matches()) {
    ++num_candidates_;
    const double cost = state.cost().ms + match->delta.cost.ms;
    // An unknown price compares false, so it is never queued.
    if (!(cost < limit)) continue;
    const int num_nodes = state.graph().num_nodes() + match->delta.num_nodes;
    if (num_nodes + num_pool_weights_ >= size_limit_ * (initial_num_nodes_ + num_pool_weights_))
      continue;
    if (!seen_.insert(hash_after(state, match.get())).second) continue;
    queue_.push({cost, num_queued_++, here, match});
  }
  ++num_expanded_;
  return true;
}

std::vector<BacktrackingSearch::Step> BacktrackingSearch::best_steps() const {
  std::vector<Step> steps;
  for (const Visited* v = best_.get(); v->match; v = v->parent.get()) {
    const State& parent = *v->parent->state;
    steps.push_back(
        {parent.rule(*v->match).name, parent.tensor_names(*v->match), v->state->cost().ms});
  }
  std::reverse(steps.begin(), steps.end());
  return steps;
}

}  // namespace xflowrl
