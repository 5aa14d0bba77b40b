#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "bind/bind.h"
#include "cost/cost_table.h"

namespace nb = nanobind;

namespace xflowrl {
namespace {

using Factors = std::map<std::string, double>;

Correction correction_of(const Factors& factors) {
  Correction correction;
  for (const auto& [name, factor] : factors) correction[find_op_class(name)] = factor;
  return correction;
}

}  // namespace

void bind_cost(nb::module_& m) {
  nb::class_<Cost>(m, "Cost", "What a graph costs; `ms` is NaN while a price is unknown.")
      .def_ro("ms", &Cost::ms, "Milliseconds.")
      .def_ro("flops", &Cost::flops, "Floating-point operations.")
      .def_ro("bytes", &Cost::bytes, "Bytes that operators read and write.")
      .def_ro("num_kernels", &Cost::kernels, "Operators that take time.")
      .def("__repr__",
           [](const Cost& c) {
             return "Cost(ms=" + std::to_string(c.ms) + ", kernels=" + std::to_string(c.kernels) +
                    ")";
           })
      .def("__getstate__",
           [](const Cost& c) { return std::make_tuple(c.ms, c.flops, c.bytes, c.kernels); })
      .def("__setstate__", [](Cost* self, const std::tuple<double, double, double, int>& state) {
        const auto& [ms, flops, bytes, kernels] = state;
        new (self) Cost{ms, flops, bytes, kernels};
      });
  bind_pickled<CostTable>(
      m, "CostTable",
      "Milliseconds per operator signature; shared by the states that it prices.\n\n"
      "Copying gives the table itself. Pickled, it takes along what it knows and was asked for.")
      .def_static(
          "roofline",
          [](double flops_per_s, double bytes_per_s, double overhead_ms, const Factors& factors) {
            return CostTable::roofline(flops_per_s, bytes_per_s, overhead_ms,
                                       correction_of(factors));
          },
          nb::arg("flops_per_s"), nb::arg("bytes_per_s"), nb::arg("overhead_ms"),
          nb::arg("correction") = Factors{},
          "overhead_ms + 1000 * max(flops / flops_per_s, bytes / bytes_per_s) an operator.\n\n"
          "Copies pay for their bytes; Reshape and its like, and what depends on constants alone, "
          "are free.\n"
          "correction: by class of operators, as `ms_by_class` names them, what its prices are "
          "multiplied\nby; 1 for the others. Raises ValueError for a class that does not exist.")
      .def_static("taso", &CostTable::taso, nb::arg("flops_per_s"), nb::arg("bytes_per_s"),
                  nb::arg("overhead_ms"),
                  "The same formula as TASO charges it, for comparison.\n\n"
                  "Operators on constants are charged; copies and what TASO has as free "
                  "operators of its own are not.")
      .def_static(
          "measured",
          [](const Factors& factors) { return CostTable::measured(correction_of(factors)); },
          nb::arg("correction") = Factors{},
          "Knows what `set` told it; asked for anything else, it notes that and answers NaN.\n\n"
          "correction: as for `roofline`.")
      .def("unknown", &CostTable::unknown, "Asked for and not known, in order of first asking.")
      .def("set", &CostTable::set, nb::arg("key"), nb::arg("ms"),
           "Tells what an operator of this `OpSignature.key` costs; states that lacked it take it "
           "from here.")
      .def("get", &CostTable::get, nb::arg("key"), "Milliseconds that `set` told, or None.")
      .def(
          "price", [](CostTable& t, const Graph& g) { return t.price(g); }, nb::arg("graph"),
          "The cost of a graph: the sum over its operators in topological order, so "
          "equal graphs cost bitwise the same.\n\n"
          "ms is NaN if an operator's price is unknown. Linear in the graph's size.")
      .def(
          "ms_by_class",
          [](CostTable& t, const Graph& g) {
            Factors sums;
            for (const auto& [op_class, ms] : t.ms_by_class(g)) sums[op_class.name()] = ms;
            return sums;
          },
          nb::arg("graph"),
          "What the operators of each class cost together, milliseconds without the correction: "
          "\"Conv:depthwise\",\n\"Relu:after_product\", ... Only those that cost; NaN where a "
          "price is unknown.")
      .def("__len__", &CostTable::size);
}

}  // namespace xflowrl
