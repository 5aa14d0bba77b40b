// TASO's cost-based backtracking search (Jia et al., SOSP 2019, algorithm 2), without its copies.
// A queue entry is an expanded graph with its candidates in order, of which the cheapest is taken
// when it is the cheapest of all: the others, most of them never taken, are not looked at.
#pragma once

#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "search/egraph.h"
#include "search/hash_set.h"
#include "search/state.h"

namespace xflowrl {

class BacktrackingSearch {
 public:
  struct Settings {
    double alpha = 1.05;         // a candidate costs less than alpha times the best so far
    double size_limit = 2;       // and has fewer nodes than this many times the initial graph's
    bool use_taso_hash = false;  // the initial state must have been made with TASO's hash
    double rounding_ms = 0;      // a difference of costs up to which nothing has improved
  };
  // What one call of `run` may do; the first limit reached ends it.
  struct Limits {
    int64_t iterations = std::numeric_limits<int64_t>::max();
    int64_t candidates = std::numeric_limits<int64_t>::max();
    int64_t idle_iterations = std::numeric_limits<int64_t>::max();  // since the last improvement
    double seconds = std::numeric_limits<double>::infinity();
  };
  // One line of the search's history.
  struct Row {
    int64_t iteration;
    double seconds;  // by the search's clock
    double cost_ms;  // of the graph expanded
    double best_cost_ms;
    int64_t candidates, queue_length;
  };
  struct Step {
    std::string rule;
    std::vector<std::string> tensors;
    double cost_ms;
  };

  BacktrackingSearch(std::shared_ptr<const State> initial, const Settings& settings);
  BacktrackingSearch(const BacktrackingSearch&) = delete;

  // Expands graph after graph, until a limit is reached or before a graph that asks for unknown
  // prices: the next call takes it as it then is. False: the queue is empty.
  bool run(const Limits& limits);
  // Shows every graph that is expanded from now on to `egraph`.
  void record(std::shared_ptr<EGraph> egraph) { egraph_ = std::move(egraph); }
  // Drops this share of the graphs whose candidates wait, rounded down, those whose cheapest
  // candidate is dearest; returns how many candidates go with them.
  int64_t drop_dearest(double share);

  const std::shared_ptr<const State>& best() const { return best_state_; }
  double best_cost_ms() const { return best_->cost_ms; }
  std::vector<Step> best_steps() const;
  double current_cost_ms() const { return current_cost_ms_; }
  int64_t num_expanded() const { return num_expanded_; }
  int64_t num_candidates() const { return num_candidates_; }
  // The clock of the history, which stands still outside of `run`.
  double seconds() const { return seconds_; }
  void set_seconds(double seconds) { seconds_ = seconds; }
  // Candidates that wait; some may lead to one graph, or to one that was expanded.
  int64_t queue_length() const { return num_waiting_ + (prepared_ ? 1 : 0); }
  // Every improvement beyond rounding, and the history, thinned: its first iterations, and from
  // then on as many in every doubling. Handed out once.
  std::vector<Row> take_improvements() { return std::exchange(improvements_, {}); }
  std::vector<Row> take_history() { return std::exchange(history_, {}); }

 private:
  // A graph on the way to others. It outlives its state, for the steps that lead to the best.
  struct Visited {
    std::shared_ptr<const Visited> parent;
    std::shared_ptr<const Graph> graph;
    MatchPtr match;  // that led here from the parent
    double cost_ms;
  };
  // A graph whose candidates wait. Its state, the larger part, goes with the last of them.
  struct Expanded {
    std::shared_ptr<const Visited> visited;
    std::shared_ptr<const State> state;
    Ranking::Iterator next;  // the cheapest candidate
    int64_t num_waiting;     // from there up to the limit at the time of expansion
  };
  struct Queued {
    double cost_ms;  // of the cheapest candidate
    int64_t order;   // first expanded, first served among equal costs
    std::unique_ptr<Expanded> expanded;
    bool operator<(const Queued& other) const {
      return cost_ms != other.cost_ms ? cost_ms > other.cost_ms : order > other.order;
    }
  };

  // The state to be expanded next.
  struct Prepared {
    std::shared_ptr<const Visited> parent;
    MatchPtr match;
    std::shared_ptr<const State> state;
  };

  bool prepare();
  void expand();
  void queue(std::unique_ptr<Expanded> expanded, int64_t order);
  bool is_small(const State& state, const Match& match) const;
  void note();
  Hash128 hash_after(const State& state, const Match* match) const;

  const Settings settings_;
  std::vector<Queued> queue_;  // a heap, the cheapest first
  HashSet seen_;               // of what was taken
  std::optional<Prepared> prepared_;
  std::shared_ptr<const Visited> best_;
  std::shared_ptr<const State> best_state_;
  std::shared_ptr<CostTable> costs_;
  std::shared_ptr<EGraph> egraph_;
  int num_pool_weights_ = 0;
  double max_num_nodes_;
  double current_cost_ms_, noted_cost_ms_;
  double seconds_ = 0;
  bool has_asked_ = false;  // for the prices of the prepared graph
  int64_t num_expanded_ = 0, num_candidates_ = 0, num_waiting_ = 0, improved_at_ = 0;
  std::vector<Row> improvements_, history_;
};

}  // namespace xflowrl
