#include "search/kind_index.h"

#include <algorithm>
#include <array>
#include <bit>
#include <stdexcept>

namespace xflowrl {
namespace {

// A bijection of which no pattern survives (Steele et al. 2014, SplitMix64).
constexpr uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

constexpr uint64_t salt(uint64_t i) { return mixed((i + 1) * 0x9e3779b97f4a7c15ULL) | 1; }

uint64_t bits(double x) { return std::bit_cast<uint64_t>(x); }
uint64_t bits(int64_t x) { return static_cast<uint64_t>(x); }
uint64_t bits_of_cost(double ms, double scale_ms) {
  return std::bit_cast<uint32_t>(static_cast<float>(ms / scale_ms));
}

// Of the words in their order; they do not wait for one another.
template <class... Words>
uint64_t colour_of(Words... words) {
  uint64_t sum = 0, i = 0;
  ((sum += mixed((words + 1) * salt(i++))), ...);
  return mixed(sum);
}

// The things of one colour together: numbers of things -> their rows, as they first appear.
class Rows {
 public:
  Rows(std::vector<int64_t>& row_of, size_t num_ids) : row_of_(row_of) {
    if (row_of_.size() < num_ids) row_of_.resize(num_ids, -1);
  }
  ~Rows() {
    for (const int64_t id : ids) row_of_[static_cast<size_t>(id)] = -1;
  }
  Rows(const Rows&) = delete;
  Rows& operator=(const Rows&) = delete;

  int64_t operator()(int64_t id) {
    int64_t& row = row_of_[static_cast<size_t>(id)];
    if (row < 0) {
      row = static_cast<int64_t>(ids.size());
      ids.push_back(id);
    }
    return row;
  }

  std::vector<int64_t> ids;

 private:
  std::vector<int64_t>& row_of_;
};

// One more for row `row`, which is the last or one behind.
void count(std::vector<float>& counts, int64_t row) {
  if (static_cast<size_t>(row) == counts.size()) counts.push_back(0);
  counts[static_cast<size_t>(row)] += 1;
}

void check(const KindIndex::Columns& c) {
  const size_t nodes = c.node_op.size(), edges = c.edge_src.size(), matches = c.match_rule.size();
  const auto points_to_nodes = [&](std::span<const int32_t> rows) {
    return std::all_of(rows.begin(), rows.end(),
                       [&](int32_t row) { return row >= 0 && static_cast<size_t>(row) < nodes; });
  };
  const auto all_are = [](size_t size, auto... columns) {
    return ((columns.size() == size) && ...);
  };
  const auto ptr = c.match_node_ptr;
  const bool fits =
      all_are(nodes, c.node_activation, c.node_num_constants, c.node_flops, c.node_bytes,
              c.node_cost_ms, c.node_is_output) &&
      c.node_shape.size() == 4 * nodes && all_are(edges, c.edge_dst, c.edge_operand) &&
      c.edge_shape.size() == 4 * edges &&
      all_are(matches, c.match_size, c.match_kernels, c.match_cost_ms, c.match_flops,
              c.match_bytes) &&
      ptr.size() == matches + 1 && ptr[0] == 0 && std::is_sorted(ptr.begin(), ptr.end()) &&
      static_cast<size_t>(ptr.back()) == c.match_node.size() && points_to_nodes(c.edge_src) &&
      points_to_nodes(c.edge_dst) && points_to_nodes(c.match_node) &&
      std::all_of(c.match_rule.begin(), c.match_rule.end(), [](int32_t r) { return r >= 0; });
  if (!fits) throw std::invalid_argument("the columns of this observation do not fit together");
}

}  // namespace

// How everything in an observation looks.
struct KindIndex::Look {
  Look(const Columns& columns, size_t num_layers, int32_t max_operands)
      : c(columns), node_colours(num_layers + 1) {
    const size_t num_nodes = c.node_op.size(), num_edges = c.edge_src.size();
    for (size_t e = 0; e < num_edges; ++e) {
      const int64_t* shape = &c.edge_shape[4 * e];
      edge_colours.push_back(colour_of(bits(int64_t{std::min(c.edge_operand[e], max_operands - 1)}),
                                       bits(shape[0]), bits(shape[1]), bits(shape[2]),
                                       bits(shape[3])));
    }
    for (size_t n = 0; n < num_nodes; ++n) {
      const int64_t* shape = &c.node_shape[4 * n];
      node_colours[0].push_back(colour_of(
          bits(int64_t{c.node_op[n]}), bits(int64_t{c.node_activation[n]}),
          bits(int64_t{c.node_num_constants[n]}), bits(int64_t{c.node_is_output[n]}),
          bits(c.node_flops[n]), bits(c.node_bytes[n]), bits_of_cost(c.node_cost_ms[n], c.scale_ms),
          bits(shape[0]), bits(shape[1]), bits(shape[2]), bits(shape[3])));
    }
    for (size_t l = 0; l < num_layers; ++l) node_colours[l + 1] = refined(node_colours[l]);
  }

  // One edge further: the same where a node, its producers and its consumers look alike.
  std::vector<uint64_t> refined(const std::vector<uint64_t>& colours) const {
    std::vector<uint64_t> producers(colours.size()), consumers(colours.size());
    for (size_t e = 0; e < edge_colours.size(); ++e) {
      const auto src = static_cast<size_t>(c.edge_src[e]), dst = static_cast<size_t>(c.edge_dst[e]);
      producers[dst] += mixed(colours[src] + edge_colours[e] * salt(0));
      consumers[src] += mixed(colours[dst] + edge_colours[e] * salt(1));
    }
    std::vector<uint64_t> result(colours.size());
    for (size_t n = 0; n < colours.size(); ++n)
      result[n] = mixed(mixed(colours[n] * salt(0) + producers[n]) * salt(1) + consumers[n]);
    return result;
  }

  uint64_t match_colour(size_t m) const {
    uint64_t bound = 0;
    for (const int32_t node : nodes_of(m))
      bound += mixed(node_colours.back()[static_cast<size_t>(node)]);
    return colour_of(bits(int64_t{c.match_rule[m]}), bits(int64_t{c.match_size[m]}),
                     bits(int64_t{c.match_kernels[m]}), bits(c.match_flops[m]),
                     bits(c.match_bytes[m]), bits_of_cost(c.match_cost_ms[m], c.scale_ms), bound,
                     nodes_of(m).size());
  }

  std::span<const int32_t> nodes_of(size_t match) const {
    const auto first = static_cast<size_t>(c.match_node_ptr[match]);
    return c.match_node.subspan(first, static_cast<size_t>(c.match_node_ptr[match + 1]) - first);
  }

  const Columns& c;
  std::vector<uint64_t> edge_colours;
  std::vector<std::vector<uint64_t>> node_colours;  // by level
};

KindIndex::Sight KindIndex::add(const Columns& c) {
  check(c);
  const Look look(c, layers_.size(), max_operands_);
  Sight sight;
  std::vector<int64_t> node_ids, match_ids, new_nodes;
  for (const uint64_t colour : look.node_colours.back())
    node_ids.push_back(name(node_ids_.back(), colour, node_ids.size(), new_nodes));
  for (size_t m = 0; m < c.match_rule.size(); ++m)
    match_ids.push_back(name(match_ids_, look.match_colour(m), m, sight.new_matches));
  keep_nodes(look, layers_.size(), new_nodes, sight);
  for (const int64_t match : sight.new_matches) {
    for (const int32_t node : look.nodes_of(static_cast<size_t>(match)))
      pairs_.items.push_back(node_ids[static_cast<size_t>(node)]);
    pairs_.end();
  }

  Rows nodes(node_row_.back(), num_nodes());
  for (const int64_t id : node_ids) count(sight.kind_share, nodes(id));
  for (float& share : sight.kind_share) share /= static_cast<float>(node_ids.size());
  sight.kind_node = nodes.ids;
  const auto last_rule = std::max_element(c.match_rule.begin(), c.match_rule.end());
  const size_t num_rules = match_ids.empty() ? 0 : static_cast<size_t>(*last_rule) + 1;
  Rows choices(match_row_, num_matches()), groups(rule_row_, num_rules);
  for (size_t m = 0; m < match_ids.size(); ++m) {
    const int64_t choice = choices(match_ids[m]), group = groups(c.match_rule[m]);
    if (static_cast<size_t>(choice) == sight.choice_group.size())
      sight.choice_group.push_back(group);
    count(sight.choice_count, choice);
    count(sight.group_count, group);
    sight.match_choice.push_back(choice);
  }
  sight.choice_match = choices.ids;
  sight.group_rule = groups.ids;
  return sight;
}

// The number of a colour; what has a new one is put down as an example of it.
int64_t KindIndex::name(Ids& ids, uint64_t colour, size_t thing, std::vector<int64_t>& examples) {
  const auto [found, is_new] = ids.try_emplace(colour, static_cast<int64_t>(ids.size()));
  if (is_new) examples.push_back(static_cast<int64_t>(thing));
  return found->second;
}

// Keeps what kinds just named are made of, which may be kinds not named before.
void KindIndex::keep_nodes(const Look& look, size_t level, const std::vector<int64_t>& nodes,
                           Sight& sight) {
  if (nodes.empty()) return;
  if (level == 0) {
    sight.new_nodes = nodes;
    return;
  }
  const Columns& c = look.c;
  std::vector<int64_t> below;
  const auto name_below = [&](size_t node) {
    return name(node_ids_[level - 1], look.node_colours[level - 1][node], node, below);
  };
  Layer& layer = layers_[level - 1];
  std::vector<std::vector<Edge>> edges(nodes.size());
  std::vector<int64_t> place(c.node_op.size(), -1);
  for (size_t i = 0; i < nodes.size(); ++i) {
    const auto node = static_cast<size_t>(nodes[i]);
    place[node] = static_cast<int64_t>(i);
    layer.own.push_back(name_below(node));
  }
  for (size_t e = 0; e < c.edge_src.size(); ++e) {
    const auto src = static_cast<size_t>(c.edge_src[e]), dst = static_cast<size_t>(c.edge_dst[e]);
    const auto note = [&](int64_t of, size_t from, int64_t slot) {
      if (of < 0) return;
      const int64_t kind = name(edge_ids_, look.edge_colours[e], e, sight.new_edges);
      edges[static_cast<size_t>(of)].push_back({name_below(from), kind, slot});
    };
    note(place[dst], src, 0);
    note(place[src], dst, 1);
  }
  for (const std::vector<Edge>& of_node : edges) {
    layer.edges.items.insert(layer.edges.items.end(), of_node.begin(), of_node.end());
    layer.edges.end();
  }
  keep_nodes(look, level - 1, below, sight);
}

KindIndex::Kinds KindIndex::kinds(std::span<const int64_t> nodes,
                                  std::span<const int64_t> matches) {
  Kinds made;
  std::vector<int64_t> present;  // kinds of nodes, from the last level down
  {
    Rows node_rows(node_row_.back(), num_nodes()), match_rows(match_row_, num_matches());
    for (const int64_t id : nodes) made.node_row.push_back(node_rows(id));
    for (const int64_t id : matches) made.match_row.push_back(match_rows(id));
    for (size_t m = 0; m < match_rows.ids.size(); ++m) {
      const auto bound = pairs_[match_rows.ids[m]];
      for (const int64_t node : bound) {
        made.pair_match.push_back(static_cast<int64_t>(m));
        made.pair_node.push_back(node_rows(node));
        made.pair_share.push_back(1 / static_cast<float>(bound.size()));
      }
    }
    made.matches = match_rows.ids;
    present = node_rows.ids;
  }
  made.levels.resize(layers_.size());
  Rows edge_rows(edge_row_, edge_ids_.size());
  for (size_t level = layers_.size(); level-- > 0;) {
    const Layer& layer = layers_[level];
    Level& made_level = made.levels[level];
    Rows below(node_row_[level], node_ids_[level].size());
    for (const int64_t id : present)
      made_level.own.push_back(below(layer.own[static_cast<size_t>(id)]));
    for (size_t row = 0; row < present.size(); ++row) {
      for (const Edge& edge : layer.edges[present[row]]) {
        made_level.edge_from.push_back(below(edge.from));
        made_level.edge_kind.push_back(edge_rows(edge.kind));
        made_level.edge_slot.push_back(2 * static_cast<int64_t>(row) + edge.slot);
      }
    }
    present = below.ids;
  }
  made.nodes = present;
  made.edges = edge_rows.ids;
  return made;
}

}  // namespace xflowrl
