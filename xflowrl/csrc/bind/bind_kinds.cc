// Python: kinds of nodes and matches.
#include <nanobind/ndarray.h>
#include <nanobind/stl/vector.h>

#include "bind/bind.h"
#include "bind/to_numpy.h"
#include "search/kind_index.h"

namespace nb = nanobind;

namespace xflowrl {
namespace {

// The arrays of an observation, held while it is read.
class Arrays {
 public:
  explicit Arrays(nb::handle by_name) : by_name_(by_name) {}

  template <class T>
  void get(const char* name, std::span<const T>& column) {
    using Array = nb::ndarray<const T, nb::c_contig, nb::device::cpu>;
    auto array = nb::cast<Array>(by_name_[name]);
    column = {array.data(), array.size()};
    held_.push_back(nb::ndarray<>(array));
  }

 private:
  nb::handle by_name_;
  std::vector<nb::ndarray<>> held_;
};

nb::dict add(KindIndex& index, nb::handle observation, double scale_ms) {
  Arrays arrays(observation);
  KindIndex::Columns c;
  arrays.get("node_op", c.node_op);
  arrays.get("node_activation", c.node_activation);
  arrays.get("node_num_constants", c.node_num_constants);
  arrays.get("node_flops", c.node_flops);
  arrays.get("node_bytes", c.node_bytes);
  arrays.get("node_cost_ms", c.node_cost_ms);
  arrays.get("node_is_output", c.node_is_output);
  arrays.get("node_shape", c.node_shape);
  arrays.get("edge_src", c.edge_src);
  arrays.get("edge_dst", c.edge_dst);
  arrays.get("edge_operand", c.edge_operand);
  arrays.get("edge_shape", c.edge_shape);
  arrays.get("match_rule", c.match_rule);
  arrays.get("match_size", c.match_size);
  arrays.get("match_kernels", c.match_kernels);
  arrays.get("match_cost_ms", c.match_cost_ms);
  arrays.get("match_flops", c.match_flops);
  arrays.get("match_bytes", c.match_bytes);
  arrays.get("match_node_ptr", c.match_node_ptr);
  arrays.get("match_node", c.match_node);
  c.scale_ms = scale_ms;
  KindIndex::Sight s = index.add(c);
  nb::dict sight;
  sight["kind_node"] = to_numpy(std::move(s.kind_node));
  sight["kind_share"] = to_numpy(std::move(s.kind_share));
  sight["choice_match"] = to_numpy(std::move(s.choice_match));
  sight["choice_group"] = to_numpy(std::move(s.choice_group));
  sight["choice_count"] = to_numpy(std::move(s.choice_count));
  sight["match_choice"] = to_numpy(std::move(s.match_choice));
  sight["group_rule"] = to_numpy(std::move(s.group_rule));
  sight["group_count"] = to_numpy(std::move(s.group_count));
  sight["new_nodes"] = to_numpy(std::move(s.new_nodes));
  sight["new_edges"] = to_numpy(std::move(s.new_edges));
  sight["new_matches"] = to_numpy(std::move(s.new_matches));
  return sight;
}

using Numbers = nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

std::span<const int64_t> numbers(const Numbers& array, size_t limit) {
  for (size_t i = 0; i < array.size(); ++i) {
    if (array.data()[i] < 0 || static_cast<size_t>(array.data()[i]) >= limit)
      throw std::invalid_argument("there is no kind " + std::to_string(array.data()[i]));
  }
  return {array.data(), array.size()};
}

nb::dict kinds(KindIndex& index, const Numbers& nodes, const Numbers& matches) {
  KindIndex::Kinds k =
      index.kinds(numbers(nodes, index.num_nodes()), numbers(matches, index.num_matches()));
  nb::list levels;
  for (KindIndex::Level& level : k.levels) {
    nb::dict arrays;
    arrays["own"] = to_numpy(std::move(level.own));
    arrays["edge_from"] = to_numpy(std::move(level.edge_from));
    arrays["edge_kind"] = to_numpy(std::move(level.edge_kind));
    arrays["edge_slot"] = to_numpy(std::move(level.edge_slot));
    levels.append(arrays);
  }
  nb::dict result;
  result["levels"] = levels;
  result["nodes"] = to_numpy(std::move(k.nodes));
  result["edges"] = to_numpy(std::move(k.edges));
  result["matches"] = to_numpy(std::move(k.matches));
  result["pair_match"] = to_numpy(std::move(k.pair_match));
  result["pair_node"] = to_numpy(std::move(k.pair_node));
  result["pair_share"] = to_numpy(std::move(k.pair_share));
  result["node_row"] = to_numpy(std::move(k.node_row));
  result["match_row"] = to_numpy(std::move(k.match_row));
  return result;
}

}  // namespace

void bind_kinds(nb::module_& m) {
  nb::class_<KindIndex>(
      m, "KindIndex",
      "Kinds of nodes and matches that an encoder of so many layers cannot tell apart.\n\n"
      "Numbered as they are first seen, told apart by 64-bit hashes; it only grows.")
      .def(nb::init<size_t, int32_t>(), nb::arg("num_layers"), nb::kw_only(),
           nb::arg("max_operands"), "Operand positions from `max_operands` - 1 on look alike.")
      .def("add", &add, nb::arg("observation"), nb::kw_only(), nb::arg("scale_ms"),
           nb::sig("def add(self, observation: collections.abc.Mapping[str, numpy.ndarray], *, "
                   "scale_ms: float) -> dict[str, numpy.ndarray]"),
           "A graph in kinds, in the order of first appearance, costs being told apart in units of "
           "`scale_ms`.\n\n"
           "`kind_node` [D] and `kind_share`: kinds of its nodes, and of how many of them; "
           "`choice_match` [C], `choice_group`, `choice_count`: kinds of its matches, place of "
           "their rule, how many; `match_choice` [M]; `group_rule` [K], `group_count`: rules of "
           "its matches, how many. `new_nodes`, `new_edges`, `new_matches`: rows of an example of "
           "each kind not seen before, by number, of nodes by themselves.\n\n"
           "Raises ValueError for columns that do not fit together. Linear.")
      .def("kinds", &kinds, nb::arg("nodes"), nb::arg("matches"),
           nb::sig("def kinds(self, nodes: numpy.ndarray, matches: numpy.ndarray) -> "
                   "dict[str, typing.Any]"),
           "What these kinds are made of, with those of nodes that the matches bind.\n\n"
           "`node_row`, `match_row`: where each is; `levels`, bottom up, of `own` [U], `edge_from` "
           "[E], `edge_kind`, `edge_slot`; `pair_match` [P], `pair_node`, `pair_share`; `nodes`, "
           "`edges`, `matches`: numbers of those that occur, of nodes by themselves.")
      .def_prop_ro("num_nodes", &KindIndex::num_nodes, "Kinds of nodes.")
      .def_prop_ro("num_matches", &KindIndex::num_matches, "Kinds of matches.");
}

}  // namespace xflowrl
