#include "search/backtracking.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <stdexcept>
#include <utility>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "taso/taso_hash.h"

namespace xflowrl {
namespace {

// Iterations of every doubling that the history keeps.
constexpr int64_t kRowsPerDoubling = 128;

bool is_kept(int64_t iteration) {
  const auto doubling = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(iteration)));
  const int64_t stride = std::max<int64_t>(doubling / kRowsPerDoubling, 1);
  return iteration % stride == 0;
}

}  // namespace

BacktrackingSearch::BacktrackingSearch(std::shared_ptr<const State> initial,
                                       const Settings& settings)
    : settings_(settings),
      costs_(initial->setting().costs),
      current_cost_ms_(initial->cost().ms),
      noted_cost_ms_(initial->cost().ms) {
  if (!(settings.alpha >= 1))
    throw std::invalid_argument("alpha is " + std::to_string(settings.alpha) +
                                "; it must be at least 1");
  if (!(settings.size_limit > 1))
    throw std::invalid_argument("size_limit is " + std::to_string(settings.size_limit) +
                                "; it must be above 1");
  if (settings.use_taso_hash && !initial->setting().with_taso_hash)
    throw std::invalid_argument("the state was made without TASO's hash; pass taso_hash=True");
  // TASO counts its pools' weights as nodes too.
  const Graph& graph = *initial->graph();
  for (size_t i = 0; settings.use_taso_hash && i < graph.num_slots(); ++i) {
    const auto id = static_cast<NodeId>(i);
    num_pool_weights_ += graph.is_live(id) && has_pool_weight(graph.node(id));
  }
  max_num_nodes_ = settings.size_limit * (graph.num_nodes() + num_pool_weights_);
  seen_.insert(hash_after(*initial, nullptr));
  best_ = std::make_shared<const Visited>(
      Visited{nullptr, initial->graph(), nullptr, current_cost_ms_});
  best_state_ = std::move(initial);
  prepared_ = Prepared{nullptr, nullptr, best_state_};
}

Hash128 BacktrackingSearch::hash_after(const State& state, const Match* match) const {
  if (settings_.use_taso_hash) return {0, state.taso_hash() + (match ? match->delta.taso_hash : 0)};
  Hash128 hash = state.graph()->hash();
  if (match) hash += match->delta.hash;
  return hash;
}

bool BacktrackingSearch::run(const Limits& limits) {
  using Clock = std::chrono::steady_clock;
  const auto began = Clock::now();
  const double before = seconds_;
  const int64_t expanded_before = num_expanded_, candidates_before = num_candidates_;
  while (true) {
    if (!prepare()) return false;
    if (!has_asked_ && costs_->has_unknown()) {
      has_asked_ = true;
      return true;
    }
    expand();
    seconds_ = before + std::chrono::duration<double>(Clock::now() - began).count();
    note();
    if (num_expanded_ - expanded_before >= limits.iterations ||
        num_candidates_ - candidates_before >= limits.candidates ||
        num_expanded_ - improved_at_ >= limits.idle_iterations ||
        seconds_ - before >= limits.seconds)
      return true;
  }
}

bool BacktrackingSearch::prepare() {
  while (!prepared_ && !queue_.empty()) {
    std::pop_heap(queue_.begin(), queue_.end());
    auto [cost_ms, order, expanded] = std::move(queue_.back());
    queue_.pop_back();
    const State& state = *expanded->state;
    const MatchPtr& match = expanded->next->match;
    if (seen_.insert(hash_after(state, match.get()))) {
      prepared_ =
          Prepared{expanded->visited, match, std::make_shared<const State>(state.apply(*match))};
      has_asked_ = false;
    }
    queue(std::move(expanded), order);
  }
  return prepared_.has_value();
}

// Puts it where its cheapest candidate belongs, if any is left that is small and new.
void BacktrackingSearch::queue(std::unique_ptr<Expanded> expanded, int64_t order) {
  const State& state = *expanded->state;
  for (; expanded->num_waiting > 0; ++expanded->next, --expanded->num_waiting, --num_waiting_) {
    const Match& match = *expanded->next->match;
    if (is_small(state, match) && !seen_.contains(hash_after(state, &match))) break;
  }
  if (expanded->num_waiting == 0) return;
  queue_.push_back({state.cost().ms + expanded->next->cost_ms, order, std::move(expanded)});
  std::push_heap(queue_.begin(), queue_.end());
}

bool BacktrackingSearch::is_small(const State& state, const Match& match) const {
  const int num_nodes = state.graph()->num_nodes() + match.delta.num_nodes;
  return num_nodes + num_pool_weights_ < max_num_nodes_;
}

void BacktrackingSearch::expand() {
  auto [parent, match, state] = *std::exchange(prepared_, std::nullopt);
  if (!state->is_priced()) state = std::make_shared<const State>(state->repriced());
  if (egraph_) egraph_->add(*state);
  current_cost_ms_ = state->cost().ms;
  ++num_expanded_;
  const auto visited = std::make_shared<const Visited>(
      Visited{std::move(parent), state->graph(), std::move(match), current_cost_ms_});
  // At equal cost, but for rounding, fewer nodes win.
  const bool is_smaller = current_cost_ms_ <= best_cost_ms() + settings_.rounding_ms &&
                          state->graph()->num_operators() < best_state_->graph()->num_operators();
  if (current_cost_ms_ < best_cost_ms() || is_smaller || std::isnan(best_cost_ms())) {
    best_ = visited;
    best_state_ = state;
  }
  num_candidates_ += static_cast<int64_t>(state->matches().size());
  const double limit_ms = best_cost_ms() * settings_.alpha;
  // An unknown price compares false, so it never waits.
  const auto num_waiting = static_cast<int64_t>(state->ranked().count_while(
      [&](const Ranked& ranked) { return current_cost_ms_ + ranked.cost_ms < limit_ms; }));
  num_waiting_ += num_waiting;
  queue(std::make_unique<Expanded>(Expanded{visited, state, state->ranked().begin(), num_waiting}),
        num_expanded_);
}

void BacktrackingSearch::note() {
  const Row row{num_expanded_,  seconds_,        current_cost_ms_,
                best_cost_ms(), num_candidates_, queue_length()};
  // The initial graph's cost may not have been known before it was expanded.
  if (std::isnan(noted_cost_ms_)) noted_cost_ms_ = row.best_cost_ms;
  if (row.best_cost_ms < noted_cost_ms_ - settings_.rounding_ms) {
    noted_cost_ms_ = row.best_cost_ms;
    improved_at_ = num_expanded_;
    improvements_.push_back(row);
  }
  if (is_kept(num_expanded_) || improved_at_ == num_expanded_) history_.push_back(row);
}

int64_t BacktrackingSearch::drop_dearest(double share) {
  if (!(share >= 0 && share <= 1))
    throw std::invalid_argument("share is " + std::to_string(share) + "; it must be 0 to 1");
  const auto kept = queue_.size() - static_cast<size_t>(static_cast<double>(queue_.size()) * share);
  const auto end = queue_.begin() + static_cast<std::ptrdiff_t>(kept);
  // The greatest of a heap is its cheapest.
  std::nth_element(queue_.begin(), end, queue_.end(),
                   [](const Queued& a, const Queued& b) { return b < a; });
  int64_t num_dropped = 0;
  std::for_each(end, queue_.end(),
                [&](const Queued& queued) { num_dropped += queued.expanded->num_waiting; });
  num_waiting_ -= num_dropped;
  queue_.erase(end, queue_.end());
  queue_.shrink_to_fit();
  std::make_heap(queue_.begin(), queue_.end());
#ifdef __GLIBC__
  malloc_trim(0);  // or the process goes on holding what was freed
#endif
  return num_dropped;
}

std::vector<BacktrackingSearch::Step> BacktrackingSearch::best_steps() const {
  std::vector<Step> steps;
  const RuleSet& rules = *best_state_->setting().rules;
  for (const Visited* v = best_.get(); v->match; v = v->parent.get()) {
    const Match& match = *v->match;
    steps.push_back({rules.rules[static_cast<size_t>(match.rule)]->name,
                     tensor_names(*v->parent->graph, match), v->cost_ms});
  }
  std::reverse(steps.begin(), steps.end());
  return steps;
}

}  // namespace xflowrl
