// The matches of one state, in every order in which they are asked for. Copies share what is equal,
// and a change costs what it concerns.
#pragma once

#include <limits>
#include <memory>
#include <vector>

#include "graph/persistent_vector.h"
#include "search/match.h"
#include "search/sorted_chunks.h"

namespace xflowrl {

struct ByKey {
  bool operator()(const MatchPtr& a, const MatchPtr& b) const { return a->key < b->key; }
};
using MatchList = SortedChunks<MatchPtr, ByKey>;

// A match and what it changes, infinite where that is unknown.
struct Ranked {
  explicit Ranked(const MatchPtr& m)
      : cost_ms(m->is_priced() ? m->delta.cost.ms : std::numeric_limits<double>::infinity()),
        match(m) {}
  double cost_ms;
  MatchPtr match;
  bool operator==(const Ranked& other) const { return match == other.match; }
};
// Cheapest first; of equal cost the one that leaves fewer operators, then the one listed first.
struct ByRank {
  bool operator()(const Ranked& a, const Ranked& b) const {
    if (a.cost_ms != b.cost_ms) return a.cost_ms < b.cost_ms;
    return is_before(*a.match, *b.match);
  }
  // Of two at equal cost.
  static bool is_before(const Match& a, const Match& b) {
    if (a.delta.num_operators != b.delta.num_operators)
      return a.delta.num_operators < b.delta.num_operators;
    return a.key < b.key;
  }
};
using Ranking = SortedChunks<Ranked, ByRank>;

class MatchIndex {
 public:
  // Those that may be applied, in the order of listing.
  const MatchList& listed() const { return listed_; }
  // The same by rank: the one order in which searches take them.
  const Ranking& ranked() const { return ranked_; }
  // The first k by rank, but differences up to `rounding_ms` count as none. Linear in k and, where
  // fewer than k lower the cost, in those that leave it as it is.
  std::vector<MatchPtr> best(size_t k, double rounding_ms) const;

  // To be looked at again after every rewrite, wherever it was: those whose changes do not follow
  // from their neighbours alone, or are unknown;
  const MatchList& unsettled() const { return unsettled_; }
  // and those of which a search alone tells whether they may be applied: they may, or may not.
  const MatchList& entangled() const { return entangled_; }
  const MatchList& blocked() const { return blocked_; }

  // All that bind one of these nodes.
  std::vector<MatchPtr> at(const std::vector<NodeId>& nodes) const;

  enum class Freedom { kFree, kEntangled, kBlocked };
  void add(const MatchPtr& match, Freedom freedom);
  void remove(const MatchPtr& match);
  // Of an entangled one that may no longer be applied, and the other way round.
  void block(MatchPtr match);
  void unblock(MatchPtr match);

 private:
  using Matches = std::vector<MatchPtr>;
  Matches& matches_at(NodeId node);
  void list(const MatchPtr& match);
  void unlist(const MatchPtr& match);

  MatchList listed_, unsettled_, entangled_, blocked_;
  Ranking ranked_;
  PersistentVector<std::shared_ptr<Matches>> by_node_;
};

}  // namespace xflowrl
