#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "bind/bind.h"
#include "search/egraph.h"

namespace nb = nanobind;

namespace xflowrl {

void bind_egraph(nb::module_& m) {
  nb::class_<EGraph>(
      m, "EGraph",
      "What a search has seen of the ways to compute each value: the nodes of all states it was "
      "shown,\nand of all rewrites that these offer.\n\n"
      "Values, nodes and rewrites are numbered in the order in which they were first seen. A value "
      "keeps its\nnumber when a rewrite computes it by other nodes. Not safe for use by several "
      "threads; cannot be pickled.")
      .def(nb::init<>(), "It has seen nothing.")
      .def(
          "add",
          [](EGraph& self, const State& state) {
            EGraph::Seen seen = self.add(state);
            return std::make_tuple(std::move(seen.nodes), std::move(seen.rewrites),
                                   std::move(seen.outputs));
          },
          nb::arg("state"),
          "Takes in a state, which must be priced.\n\n"
          "Returns its nodes, leaves and constants included; the rewrite that each of its matches "
          "is, as listed;\nand the value of each output.")
      .def(
          "nodes",
          [](const EGraph& self, size_t since) {
            nb::list nodes;
            for (size_t i = since; i < self.nodes().size(); ++i) {
              const EGraph::Node& n = self.nodes()[i];
              nodes.append(nb::make_tuple(n.op_type, n.operation.hex(), n.is_commutative, n.cost_ms,
                                          n.inputs, n.outputs));
            }
            return nodes;
          },
          nb::arg("since") = 0,
          nb::sig("def nodes(self, since: int = 0) -> list[tuple[str, str, bool, float, list[int], "
                  "list[int]]]"),
          "Operator, a key of operator and attributes, whether the order of its operands is of no "
          "meaning, ms,\nvalues it reads (-1: an omitted operand), values it computes; without the "
          "first "
          "`since`.")
      .def(
          "rewrites",
          [](const EGraph& self, size_t since) {
            std::vector<std::pair<std::vector<int>, std::vector<int>>> rewrites;
            for (size_t i = since; i < self.rewrites().size(); ++i)
              rewrites.emplace_back(self.rewrites()[i].sources, self.rewrites()[i].targets);
            return rewrites;
          },
          nb::arg("since") = 0,
          "Nodes that each finds, and nodes that it makes of them; without the first `since`.")
      .def(
          "equalities", [](const EGraph& self) { return self.equalities(); },
          "Pairs of values that a rewrite puts in each other's place.")
      .def("__len__", [](const EGraph& self) { return self.nodes().size(); });
}

}  // namespace xflowrl
