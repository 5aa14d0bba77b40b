// What a search has seen of the ways to compute each value: an e-graph in the raw.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "search/state.h"

namespace xflowrl {

// The nodes of all states it was shown, and of all rewrites that these offer. It only grows, by
// 0.1 to 1 KB a node or match. Not safe for use by several threads.
class EGraph {
 public:
  using Index = int32_t;  // of a value, a node or a rewrite; in order of first sight

  struct Node {
    std::string op_type;
    double cost_ms;
    Hash128 operation;  // operator and attributes; of an input or weight its name too
    bool is_commutative;
    std::vector<Index> inputs;  // values; -1: an omitted operand
    std::vector<Index> outputs;
  };
  // A rule at one place: of every state that has the sources, it makes one that has the targets.
  struct Rewrite {
    int rule;
    std::vector<Index> sources, targets;  // nodes
  };
  struct Seen {
    std::vector<Index> nodes;     // of the state, leaves and constants included
    std::vector<Index> rewrites;  // one for each of its matches, as listed
    std::vector<Index> outputs;   // values, one for each output of the graph
  };

  // Costs what the state's graph is, in hashes of its nodes, and a plan for each match that is new.
  // The state must be priced.
  Seen add(const State& state);

  const std::vector<Node>& nodes() const { return nodes_; }
  const std::vector<Rewrite>& rewrites() const { return rewrites_; }
  // Values that are equal and have different ids, for a rewrite puts one in the other's place.
  const std::vector<std::pair<Index, Index>>& equalities() const { return equalities_; }

 private:
  template <class IdOf>
  Index add_node(const xflowrl::Node& node, double cost_ms, bool is_commutative, IdOf id_of);
  Index add_rewrite(const State& state, const Match& match, const std::vector<Index>& at_slot);
  Index value(const Hash128& id);

  std::vector<Node> nodes_;
  std::vector<Rewrite> rewrites_;
  std::vector<std::pair<Index, Index>> equalities_;
  std::unordered_map<Hash128, Index, HashOfHash> values_, known_nodes_, known_rewrites_;
  // States share most matches. They are kept, so that no other one gets the address of one.
  std::unordered_map<MatchPtr, Index> known_matches_;
};

}  // namespace xflowrl
