// A graph under rules and costs, with all places where a rule applies.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "graph/reachability.h"
#include "rewrite/matcher.h"
#include "rule/rule.h"
#include "search/delta.h"

namespace xflowrl {

// Everything that stays the same during a search.
struct Setting {
  std::shared_ptr<const RuleSet> rules;
  std::shared_ptr<CostTable> costs;
  bool with_taso_hash = false;
  struct Entry {
    int rule, node;
  };
  std::vector<std::vector<Entry>> by_operator;  // pattern nodes of each operator
  std::vector<std::vector<int>> by_anchor;      // connected rules whose anchor has the operator
  std::vector<int> disconnected;                // the other rules

  Setting(std::shared_ptr<const RuleSet> rule_set, std::shared_ptr<CostTable> cost_table,
          bool taso_hash);
};

// A rule bound to one place of a graph, and what applying it changes.
struct Match {
  int rule = 0;
  Binding binding;
  Delta delta;
  std::vector<int32_t> key;  // rule and creation numbers of what it binds: the order of listing
};
using MatchPtr = std::shared_ptr<const Match>;
// Names of the tensors that a match binds in its graph: variables, then each node's first output.
std::vector<std::string> tensor_names(const Graph& graph, const Match& match);

class State {
 public:
  State(const Graph& graph, std::shared_ptr<const Setting> setting);
  // The same with a cost that is known (not NaN). One that was followed through rewrites,
  // difference by difference, is not bitwise the sum over the nodes.
  State(const Graph& graph, std::shared_ptr<const Setting> setting, const Cost& cost);
  // The state after `match`, which must come from this state's matches().
  State apply(const Match& match) const;
  // The graph after `match` alone, its matches not looked for; `touched` as in carry_out.
  Graph rewrite(const Match& match, std::vector<NodeId>& touched) const;

  const Graph& graph() const { return graph_; }
  const Setting& setting() const { return *setting_; }
  const Rule& rule(const Match& match) const {
    return *setting_->rules->rules[static_cast<size_t>(match.rule)];
  }
  const Cost& cost() const { return cost_; }
  uint64_t taso_hash() const { return taso_hash_; }
  // Ordered by rule, then by creation of the nodes. Costs are NaN where a signature is unknown.
  const std::vector<MatchPtr>& matches() const { return legal_; }
  // Prices anew what was unknown when it was last priced, and lists what was forgotten.
  void refresh();
  // Frees the list of matches, until the next refresh. States may still be made from this one.
  void forget_listing();
  // Why places that begin to match rule number `rule` fail.
  Reasons explain(int rule) const;

 private:
  State() = default;
  void find_all();
  void find_near(const State& parent, const std::vector<NodeId>& touched);
  // A rule and the node where to begin.
  using Place = std::pair<int, NodeId>;
  std::vector<MatchPtr> find_at(const std::vector<Place>& places,
                                const std::vector<char>* near) const;
  void match_rule(int rule, NodeId anchor, const std::vector<char>* near,
                  std::vector<MatchPtr>& found) const;
  MatchPtr judged(int rule, const Binding& binding, Reasons* reasons) const;
  void list();
  std::vector<MatchPtr> find_pairs(const Reachability& reach) const;
  MatchPtr known_pair(const std::vector<int32_t>& key) const;
  std::unique_ptr<Reachability> reachability() const;
  bool is_legal(const Match& match, std::unique_ptr<Reachability>& reach) const;
  bool is_stale(const Match& match) const;

  Graph graph_;
  std::shared_ptr<const Setting> setting_;
  Cost cost_;
  uint64_t taso_hash_ = 0;
  std::vector<MatchPtr> bindings_;  // of connected sources, by key; convexity not looked at
  int64_t listed_version_ = 0;      // of the prices, when the matches were listed
  std::vector<MatchPtr> pairs_;     // legal ones of disconnected sources, by key
  std::vector<MatchPtr> legal_;
};

}  // namespace xflowrl
