// TASO's cost-based backtracking search (Jia et al., SOSP 2019, algorithm 2), without its copies:
// a queue entry is a parent and a match, and its graph is built when it is popped.
#pragma once

#include <memory>
#include <queue>
#include <string>
#include <unordered_set>
#include <vector>

#include "state.h"

namespace xflowrl {

class BacktrackingSearch {
 public:
  struct Step {
    std::string rule;
    std::vector<std::string> tensors;
    double cost_ms;
  };

  // `alpha`: a candidate is queued if it costs less than alpha times the best so far.
  // `size_limit`: and has fewer nodes than this many times the initial graph's.
  // `initial` must have been made with a setting that keeps TASO's hash if `use_taso_hash`.
  BacktrackingSearch(std::shared_ptr<State> initial, double alpha, double size_limit,
                     bool use_taso_hash);

  // Builds the cheapest queued state, so that unknown prices are asked for. False: the queue is
  // empty.
  bool prepare();
  // Expands the prepared state: one iteration. False: the queue is empty.
  bool expand();

  const std::shared_ptr<State>& best() const { return best_->state; }
  double best_cost_ms() const { return best_->state->cost().ms; }
  std::vector<Step> best_steps() const;
  double current_cost_ms() const { return current_cost_ms_; }
  int64_t num_expanded() const { return num_expanded_; }
  int64_t num_candidates() const { return num_candidates_; }
  size_t queue_length() const { return queue_.size() + (prepared_ ? 1 : 0); }

 private:
  struct Visited {
    std::shared_ptr<const Visited> parent;
    std::shared_ptr<State> state;
    MatchPtr match;  // that led here from the parent
  };
  struct Queued {
    double cost_ms;
    int64_t order;  // first come, first served among equal costs
    std::shared_ptr<const Visited> parent;
    MatchPtr match;
    bool operator<(const Queued& other) const {
      return cost_ms != other.cost_ms ? cost_ms > other.cost_ms : order > other.order;
    }
  };
  Hash128 hash_after(const State& state, const Match* match) const;

  const double alpha_, size_limit_;
  const bool use_taso_hash_;
  std::priority_queue<Queued> queue_;
  std::unordered_set<Hash128, HashOfHash> seen_;
  std::shared_ptr<const Visited> prepared_, best_;
  int initial_num_nodes_, num_pool_weights_ = 0;
  double current_cost_ms_;
  int64_t num_expanded_ = 0, num_candidates_ = 0, num_queued_ = 0;
};

}  // namespace xflowrl
