// Nodes, edges and matches that an encoder cannot tell apart: one kind, under one number.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace xflowrl {

// An encoder of L layers sees of a node what lies within L edges of it, which colour refinement
// finds out (Weisfeiler and Leman 1968): colours are 64-bit hashes, equal where things look alike.
// Kinds are numbered as they are first seen; the index only grows.
class KindIndex {
 public:
  // An observation; see xflowrl.env for the columns.
  struct Columns {
    std::span<const int32_t> node_op, node_activation, node_num_constants;
    std::span<const double> node_flops, node_bytes, node_cost_ms;
    std::span<const uint8_t> node_is_output;
    std::span<const int64_t> node_shape;
    std::span<const int32_t> edge_src, edge_dst, edge_operand;
    std::span<const int64_t> edge_shape;
    std::span<const int32_t> match_rule, match_size, match_kernels, match_node_ptr, match_node;
    std::span<const double> match_cost_ms, match_flops, match_bytes;
    double scale_ms;  // costs are told apart in this unit, as f32
  };

  // What a graph consists of, in the order of first appearance.
  struct Sight {
    std::vector<int64_t> kind_node;                   // [D] kinds of its nodes
    std::vector<float> kind_share;                    // [D] of its nodes
    std::vector<int64_t> choice_match, choice_group;  // [C] kinds of its matches, groups
    std::vector<float> choice_count;                  // [C] matches
    std::vector<int64_t> match_choice;                // [M]
    std::vector<int64_t> group_rule;                  // [K] rules of its matches
    std::vector<float> group_count;                   // [K] matches
    // Rows of the observation, one of each kind not seen before, by number; kinds of nodes here by
    // what they are themselves.
    std::vector<int64_t> new_nodes, new_edges, new_matches;
  };

  // Kinds of nodes that look alike as far as l edges away, made of those one level below.
  struct Level {
    std::vector<int64_t> own;                              // [U]
    std::vector<int64_t> edge_from, edge_kind, edge_slot;  // [E] slot 2 u: from u's producer
  };
  struct Kinds {
    std::vector<int64_t> nodes, edges, matches;  // their numbers, of nodes below the first level
    std::vector<Level> levels;
    std::vector<int64_t> pair_match, pair_node;  // [P] rows
    std::vector<float> pair_share;
    std::vector<int64_t> node_row, match_row;  // of what was asked for
  };

  // Operand positions from `max_operands` - 1 on look alike.
  KindIndex(size_t num_layers, int32_t max_operands)
      : max_operands_(max_operands),
        node_ids_(num_layers + 1),
        layers_(num_layers),
        node_row_(num_layers + 1) {}

  // Linear. Throws std::invalid_argument for columns that do not fit together.
  Sight add(const Columns& columns);
  // Some kinds of nodes and of matches, in this order, then nodes that these matches bind, and what
  // all are made of. Linear in that.
  Kinds kinds(std::span<const int64_t> nodes, std::span<const int64_t> matches);

  size_t num_nodes() const { return node_ids_.back().size(); }
  size_t num_matches() const { return match_ids_.size(); }

 private:
  struct Same {
    size_t operator()(uint64_t colour) const { return colour; }
  };
  using Ids = std::unordered_map<uint64_t, int64_t, Same>;
  struct Edge {
    int64_t from, kind, slot;
  };
  template <class T>
  struct Lists {
    std::vector<size_t> ends;
    std::vector<T> items;
    void end() { ends.push_back(items.size()); }
    std::span<const T> operator[](int64_t i) const {
      const auto at = static_cast<size_t>(i);
      const size_t first = at == 0 ? 0 : ends[at - 1];
      return {items.data() + first, ends[at] - first};
    }
  };
  struct Layer {
    std::vector<int64_t> own;
    Lists<Edge> edges;
  };
  struct Look;

  static int64_t name(Ids& ids, uint64_t colour, size_t thing, std::vector<int64_t>& examples);
  void keep_nodes(const Look& look, size_t level, const std::vector<int64_t>& nodes, Sight& sight);

  int32_t max_operands_;
  std::vector<Ids> node_ids_;  // by level and colour
  Ids edge_ids_, match_ids_;
  std::vector<Layer> layers_;
  Lists<int64_t> pairs_;  // kinds of nodes that each kind of match binds
  // By number, the place in what is being made; -1 between calls.
  std::vector<std::vector<int64_t>> node_row_;
  std::vector<int64_t> edge_row_, match_row_, rule_row_;
};

}  // namespace xflowrl
