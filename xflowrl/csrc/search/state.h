// A graph under rules and costs, with all places where a rule applies.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "graph/path_changes.h"
#include "graph/reachability.h"
#include "rewrite/matcher.h"
#include "rule/rule.h"
#include "search/match_index.h"
#include "search/setting.h"

namespace xflowrl {

// Names of the tensors that a match binds in its graph: variables, then each node's first output.
std::vector<std::string> tensor_names(const Graph& graph, const Match& match);

struct PlacedMatch {
  std::shared_ptr<const Graph> graph;
  MatchPtr match;  // of a state of that graph
};

// One of several matches that were taken in a row, as it was found in the graph before it.
struct Taken {
  size_t index;  // among those given
  PlacedMatch placed;
  int32_t num_created;  // of the graph after it
  double cost_ms;       // of the graph after it
};

// Immutable: what is priced later is seen in a repriced() state alone. Several threads may read one
// state and make others from it, if its costs follow from formulas; a measured CostTable notes what
// it is asked for, so states that share one are for one thread at a time.
class State {
 public:
  State(const Graph& graph, std::shared_ptr<const Setting> setting);
  // The same with a cost that is known (not NaN). One that was followed through rewrites,
  // difference by difference, is not bitwise the sum over the nodes.
  State(const Graph& graph, std::shared_ptr<const Setting> setting, const Cost& cost);
  // The state after `match`, which must be one of a state with the same graph().
  State apply(const Match& match) const;
  // The state after several, of this state or of those that it was made of: one after the other,
  // those that are still there, and matches looked for at the end alone. Stops before one whose
  // price is unknown by then, unless it is the first.
  State apply_each(const std::vector<PlacedMatch>& matches, std::vector<Taken>& taken) const;
  // The graph after `match` alone, its matches not looked for; `touched` as in carry_out.
  Graph rewrite(const Match& match, std::vector<NodeId>& touched) const;
  // The same graph, with the prices that are known by now. What had prices is shared.
  State repriced() const;
  // Are the cost and what each match changes known?
  bool is_priced() const;

  // A repriced state has the very same graph; other states have graphs of their own.
  const std::shared_ptr<const Graph>& graph() const { return graph_; }
  const Setting& setting() const { return *setting_; }
  const Rule& rule(int index) const { return *setting_->rules->rules[static_cast<size_t>(index)]; }
  const Cost& cost() const { return cost_; }
  uint64_t taso_hash() const { return taso_hash_; }
  // Ordered by rule, then by creation of the nodes. Costs are NaN where a signature is unknown.
  const MatchList& matches() const { return matches_.listed(); }
  // The same by rank, and the first k by rank: see MatchIndex.
  const Ranking& ranked() const { return matches_.ranked(); }
  std::vector<MatchPtr> best(size_t k, double rounding_ms) const {
    return matches_.best(k, rounding_ms);
  }
  // Why places that begin to match rule number `rule` fail.
  Reasons explain(int rule) const;

 private:
  State() = default;
  void find_all();
  void find_near(const Graph& before, const std::vector<NodeId>& touched);
  void place(const MatchPtr& match, PathSearch& paths);
  void check_paths(const PathChange& made, const PathChange& broken, PathSearch& paths);
  std::vector<MatchPtr> find_at(const std::vector<Anchor>& anchors,
                                const std::vector<char>* near) const;
  std::vector<MatchPtr> join_at(const std::vector<Anchor>& anchors,
                                const std::vector<char>* near) const;
  Matcher::Sink collector(const int& rule, const std::vector<char>* near,
                          std::vector<MatchPtr>& found) const;
  MatchPtr make_match(int rule, const Binding& binding, Reasons* reasons) const;
  MatchPtr match_again(const PlacedMatch& placed) const;
  void count(const Delta& delta);
  void price_if_unknown();
  bool is_place(NodeId id) const;
  void note_place(NodeId id);
  bool may_apply(const Match& match, PathSearch& paths) const;

  std::shared_ptr<const Graph> graph_;
  std::shared_ptr<const Setting> setting_;
  Cost cost_;
  uint64_t taso_hash_ = 0;
  MatchIndex matches_;
  // By operator, the nodes at which a part of a disconnected source may be.
  std::map<OpIndex, SortedChunks<NodeId, std::less<>>> places_;
};

}  // namespace xflowrl
