#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <utility>

#include "bind/bind.h"
#include "bind/let_others_run.h"
#include "search/backtracking.h"
#include "taso/taso_hash.h"

namespace nb = nanobind;

namespace xflowrl {
namespace {

// Iteration, seconds, cost of the graph expanded, best cost, candidates, queue length.
nb::list rows(const std::vector<BacktrackingSearch::Row>& history) {
  nb::list result;
  for (const auto& r : history)
    result.append(nb::make_tuple(r.iteration, r.seconds, r.cost_ms, r.best_cost_ms, r.candidates,
                                 r.queue_length));
  return result;
}

void bind_backtracking(nb::module_& m) {
  using Search = BacktrackingSearch;
  nb::class_<Search>(m, "BacktrackingSearch",
                     "TASO's cost-based backtracking search (Jia et al. 2019, algorithm 2).\n\n"
                     "Deterministic, but for `seconds` limits. Not safe for use by several "
                     "threads; cannot be pickled.")
      .def(
          "__init__",
          [](Search* self, std::shared_ptr<const State> state, double alpha, double size_limit,
             const std::string& hash, double rounding_ms) {
            if (hash != "exact" && hash != "taso")
              throw std::invalid_argument("hash is \"" + hash + "\"; it must be exact or taso");
            new (self) Search(std::move(state),
                              {alpha, size_limit, /*use_taso_hash=*/hash == "taso", rounding_ms});
          },
          nb::arg("state"), nb::kw_only(), nb::arg("alpha") = 1.05, nb::arg("size_limit") = 2.0,
          nb::arg("hash") = "exact", nb::arg("rounding_ms") = 0.0,
          "Begins at `state`, its prices known or not.\n\nArgs:\n"
          "    alpha: a candidate costs less than alpha times the best so far; at least 1.\n"
          "    size_limit: and has fewer nodes than this many times the initial graph's; above 1.\n"
          "    hash: by which a graph is known again, \"exact\" or \"taso\".\n"
          "    rounding_ms: a difference of costs up to which nothing has improved.\n\n"
          "Raises ValueError for other values, or \"taso\" with a state made without "
          "taso_hash=True.")
      .def(
          "run",
          [](Search& self, std::optional<int64_t> iterations, std::optional<int64_t> candidates,
             std::optional<int64_t> idle_iterations, std::optional<double> seconds) {
            Search::Limits limits;
            if (iterations) limits.iterations = *iterations;
            if (candidates) limits.candidates = *candidates;
            if (idle_iterations) limits.idle_iterations = *idle_iterations;
            if (seconds) limits.seconds = *seconds;
            const LetOthersRun release(*self.best());
            return self.run(limits);
          },
          nb::kw_only(), nb::arg("iterations") = nb::none(), nb::arg("candidates") = nb::none(),
          nb::arg("idle_iterations") = nb::none(), nb::arg("seconds") = nb::none(),
          "Expands graphs, at least one, until a limit of this call is reached, or before a graph "
          "that asks for unknown prices. False: the queue is empty.")
      .def("record", &Search::record, nb::arg("egraph"),
           "Shows every graph that is expanded from now on to an e-graph.")
      .def("drop_dearest", &Search::drop_dearest, nb::arg("share"),
           "Drops this share (0 to 1) of the expanded graphs whose candidates wait, rounded down: "
           "those whose cheapest candidate is dearest, and all their candidates.\n\n"
           "Returns how many candidates that are. Raises ValueError for another share. Linear in "
           "the number of these graphs.")
      .def_prop_ro("best", &Search::best, "The cheapest state that was expanded.")
      .def_prop_ro("best_cost_ms", &Search::best_cost_ms,
                   "Cost of the cheapest state that was expanded.")
      .def_prop_ro("current_cost_ms", &Search::current_cost_ms, "Cost of the state expanded last.")
      .def_prop_ro("num_expanded", &Search::num_expanded,
                   "States whose matches were listed: iterations.")
      .def_prop_ro("num_candidates", &Search::num_candidates, "Matches whose cost was asked for.")
      .def_prop_rw("seconds", &Search::seconds, &Search::set_seconds,
                   nb::for_getter("The clock of the history. It stands still outside of `run`."),
                   nb::for_setter("Puts it forward, to count what goes on there too."))
      .def_prop_ro("queue_length", &Search::queue_length,
                   "Candidates that wait, and the graph to be expanded next.\n\n"
                   "Several may lead to one graph: they are told apart when they are taken.")
      .def(
          "take_improvements", [](Search& s) { return rows(s.take_improvements()); },
          nb::sig("def take_improvements(self) -> list[tuple[int, float, float, float, int, int]]"),
          "The iterations since the last call that found a new best beyond "
          "`rounding_ms`, as in `take_history`.")
      .def(
          "take_history", [](Search& s) { return rows(s.take_history()); },
          nb::sig("def take_history(self) -> list[tuple[int, float, float, float, int, int]]"),
          "Iterations since the last call: (iteration, `seconds`, cost of the graph "
          "expanded in ms, best cost in ms, candidates, queue length).\n\n"
          "Thinned: all of the first, and of every doubling from then on as many again, "
          "and every improvement.")
      .def(
          "best_steps",
          [](const Search& s) {
            nb::list steps;
            for (const auto& step : s.best_steps())
              steps.append(nb::make_tuple(step.rule, step.tensors, step.cost_ms));
            return steps;
          },
          nb::sig("def best_steps(self) -> list[tuple[str, list[str], float]]"),
          "Rule, bound tensors and cost after each step on the way to the best graph.");
}

}  // namespace

void bind_search(nb::module_& m) {
  m.def(
      "taso_hash", [](const Graph& g) { return taso_hash(g); }, nb::arg("graph"),
      "TASO's 64-bit hash of a graph, computed anew: coarse, but its search depends on it. Linear "
      "in the graph's size.");
  bind_backtracking(m);
}

}  // namespace xflowrl
