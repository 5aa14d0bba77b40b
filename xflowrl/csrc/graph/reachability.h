// Which node leads to which: a bitset of descendants and one of ancestors per node.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "graph/graph.h"

namespace xflowrl {

// Built in O(edges * nodes / 64), 5 microseconds for 500 nodes.
class Reachability {
 public:
  // Nodes that depend on constants alone are left out unless asked for: a rewrite that does not
  // touch them can close no cycle through them.
  Reachability(const Graph& graph, bool with_constants);

  // Is there a path of one edge or more? Both nodes are among those looked at.
  bool reaches(NodeId from, NodeId to) const { return test(below_, row(from), row(to)); }
  // Nodes of one operator that neither lead to `node` nor can be reached from it, `node` left out.
  std::vector<NodeId> unrelated(NodeId node, OpIndex op);

 private:
  using Bits = std::vector<uint64_t>;
  const Bits& rows_of(OpIndex op);  // made when it is first asked for
  size_t row(NodeId id) const { return static_cast<size_t>(row_[static_cast<size_t>(id)]); }
  bool test(const Bits& bits, size_t from, size_t to) const {
    return bits[from * words_ + to / 64] >> (to % 64) & 1;
  }
  void set(Bits& bits, size_t from, size_t to) const {
    bits[from * words_ + to / 64] |= uint64_t{1} << (to % 64);
  }
  void join(Bits& bits, size_t into, size_t from) const {
    for (size_t w = 0; w < words_; ++w) bits[into * words_ + w] |= bits[from * words_ + w];
  }

  const Graph& graph_;
  std::vector<int32_t> row_;   // per slot; -1: left out or free
  std::vector<NodeId> order_;  // per row, producers first
  Bits below_, above_;
  std::map<OpIndex, Bits> rows_of_;
  size_t words_ = 0;
};

// Looks for paths one by one, each among the nodes whose levels lie between its ends.
class PathSearch {
 public:
  explicit PathSearch(const Graph& graph) : graph_(graph) {}

  // Is there a path of one edge or more?
  bool leads(NodeId from, NodeId to);
  // How many of the answers needed a search: levels alone do not give them.
  int num_searches() const { return search_; }

 private:
  const Graph& graph_;
  std::vector<int32_t> seen_in_;  // per slot: the number of the search that came there last
  int32_t search_ = 0;
  std::vector<NodeId> open_;
};

}  // namespace xflowrl
