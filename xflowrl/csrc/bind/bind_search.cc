#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <optional>
#include <utility>

#include "bind/bind.h"
#include "bind/to_numpy.h"
#include "search/backtracking.h"
#include "search/observation.h"
#include "taso/taso_hash.h"

namespace nb = nanobind;

namespace xflowrl {
namespace {

// A match together with the state that it belongs to.
struct MatchView {
  std::shared_ptr<const State> state;
  MatchPtr match;
};

std::vector<MatchView> match_views(const std::shared_ptr<State>& state) {
  std::vector<MatchView> views;
  for (const MatchPtr& match : state->matches()) views.push_back({state, match});
  return views;
}

std::vector<MatchView> best_views(const std::shared_ptr<State>& state, int64_t k,
                                  double rounding_ms) {
  if (k < 0) throw std::invalid_argument("k is " + std::to_string(k) + "; it must be 0 or more");
  std::vector<MatchView> views;
  for (MatchPtr& match : state->best(static_cast<size_t>(k), rounding_ms))
    views.push_back({state, std::move(match)});
  return views;
}

std::optional<MatchView> find_match(const std::shared_ptr<State>& state, const std::string& rule,
                                    const std::vector<std::string>& tensors) {
  // Most are told apart by the rule or by the name of the node bound last.
  const Graph& graph = *state->graph();
  for (const MatchPtr& match : state->matches()) {
    if (state->rule(match->rule).name != rule) continue;
    NodeId last = kNoNode;
    match->binding.for_each_node([&](NodeId id) { last = id; });
    if (tensors.empty() || graph.tensor_name({last, 0}) != tensors.back()) continue;
    if (tensor_names(graph, *match) == tensors) return MatchView{state, match};
  }
  return std::nullopt;
}

nb::dict observe(const State& state) {
  Observation o = make_observation(state);
  nb::dict result;
  result["node_op"] = to_numpy(std::move(o.node_op));
  result["node_flops"] = to_numpy(std::move(o.node_flops));
  result["node_bytes"] = to_numpy(std::move(o.node_bytes));
  result["node_cost_ms"] = to_numpy(std::move(o.node_cost_ms));
  result["node_num_constants"] = to_numpy(std::move(o.node_num_constants));
  result["node_activation"] = to_numpy(std::move(o.node_activation));
  result["node_is_output"] = to_numpy(std::move(o.node_is_output));
  result["node_shape"] = to_numpy(std::move(o.node_shape), Observation::kShapeColumns);
  result["edge_src"] = to_numpy(std::move(o.edge_src));
  result["edge_dst"] = to_numpy(std::move(o.edge_dst));
  result["edge_operand"] = to_numpy(std::move(o.edge_operand));
  result["edge_shape"] = to_numpy(std::move(o.edge_shape), Observation::kShapeColumns);
  result["match_rule"] = to_numpy(std::move(o.match_rule));
  result["match_cost_ms"] = to_numpy(std::move(o.match_cost_ms));
  result["match_size"] = to_numpy(std::move(o.match_size));
  result["match_flops"] = to_numpy(std::move(o.match_flops));
  result["match_bytes"] = to_numpy(std::move(o.match_bytes));
  result["match_kernels"] = to_numpy(std::move(o.match_kernels));
  result["match_node_ptr"] = to_numpy(std::move(o.match_node_ptr));
  result["match_node"] = to_numpy(std::move(o.match_node));
  return result;
}

MatchPtr pick(const State& state, int64_t index) {
  const auto count = static_cast<int64_t>(state.matches().size());
  if (index < 0 || index >= count)
    throw std::invalid_argument("match " + std::to_string(index) +
                                " does not exist; the state has " + std::to_string(count) +
                                " matches");
  return state.matches()[static_cast<size_t>(index)];
}

// Lets other threads run, unless the costs are measured: their table notes what it is asked for,
// and the interpreter's lock is what keeps the others off it.
class LetOthersRun {
 public:
  explicit LetOthersRun(const State& state) {
    if (state.setting().costs->is_formula()) release_.emplace();
  }

 private:
  std::optional<nb::gil_scoped_release> release_;
};

State apply(const State& state, const Match& match) {
  const LetOthersRun release(state);
  return state.apply(match);
}

int rule_number(const State& state, const std::string& name) {
  const auto& rules = state.setting().rules->rules;
  for (size_t i = 0; i < rules.size(); ++i) {
    if (rules[i]->name == name) return static_cast<int>(i);
  }
  throw std::invalid_argument("there is no rule \"" + name + "\" in this rule set");
}

void bind_state(nb::module_& m) {
  bind_shared<MatchView>(m, "Match", "A rule bound to one place of a state's graph.")
      .def_prop_ro(
          "rule", [](const MatchView& v) { return v.state->rule(v.match->rule).name; },
          "The rule's name.")
      .def_prop_ro(
          "rule_index", [](const MatchView& v) { return v.match->rule; },
          "The rule's index in the rule set.")
      .def_prop_ro(
          "tensors", [](const MatchView& v) { return tensor_names(*v.state->graph(), *v.match); },
          "Names of the tensors it binds; with the rule's name its identity in a trace.")
      .def_prop_ro(
          "index", [](const MatchView& v) { return v.state->matches().index_of(v.match); },
          "Its place among the state's `matches()`.")
      .def_prop_ro(
          "nodes",
          [](const MatchView& v) {
            std::vector<NodeId> ids;
            v.match->binding.for_each_node([&](NodeId id) { ids.push_back(id); });
            return ids;
          },
          "Slots of the matched nodes.")
      .def_prop_ro(
          "cost_difference_ms", [](const MatchView& v) { return v.match->delta.cost.ms; },
          "What applying it adds to the graph's cost; NaN while a price is unknown.")
      .def_prop_ro(
          "size_difference", [](const MatchView& v) { return v.match->delta.num_operators; },
          "What applying it adds to `State.num_nodes`.")
      .def_prop_ro(
          "hash",
          [](const MatchView& v) {
            Hash128 hash = v.state->graph()->hash();
            hash += v.match->delta.hash;
            return hash.hex();
          },
          "Hash of the graph that applying it gives.")
      .def_prop_ro(
          "taso_hash",
          [](const MatchView& v) { return v.state->taso_hash() + v.match->delta.taso_hash; },
          "TASO's hash of that graph; the state must have been made with taso_hash=True.")
      .def_prop_ro(
          "graph",
          [](const MatchView& v) {
            std::vector<NodeId> touched;
            return v.state->rewrite(*v.match, touched);
          },
          "The graph that applying it gives, its matches not looked for.")
      .def("__repr__", [](const MatchView& v) {
        return "Match(" + v.state->rule(v.match->rule).name + ", " +
               std::to_string(v.match->delta.cost.ms) + " ms)";
      });
  bind_shared<State>(
      m, "State",
      "A graph under rules and costs, with its matches. Immutable.\n\n"
      "Pickled, it is its graph, rules and costs; the copy looks for all matches anew, which "
      "takes as\nlong as making the state did.")
      .def(
          "__init__",
          [](State* self, const Graph& graph, std::shared_ptr<const RuleSet> rules,
             std::shared_ptr<CostTable> costs, bool taso_hash) {
            new (self) State(graph, std::make_shared<const Setting>(std::move(rules),
                                                                    std::move(costs), taso_hash));
          },
          nb::arg("graph"), nb::arg("rules"), nb::arg("costs"), nb::kw_only(),
          nb::arg("taso_hash") = false, "Looks for all matches. taso_hash: keep TASO's hash too.")
      .def_prop_ro("graph", &State::graph, "The graph.")
      .def_prop_ro("cost", &State::cost,
                   "The graph's cost, NaN where a price was unknown when the state was made.\n\n"
                   "Followed difference by difference through `apply`.")
      .def_prop_ro(
          "hash", [](const State& s) { return s.graph()->hash().hex(); }, "The graph's hash.")
      .def_prop_ro(
          "taso_hash", [](const State& s) { return s.taso_hash(); },
          "TASO's 64-bit hash of the graph; 0 unless the state was made with "
          "taso_hash=True.")
      .def_prop_ro(
          "num_nodes", [](const State& s) { return s.graph()->num_operators(); },
          "Number of operators that are not on constants alone, as `len` of the graph.")
      .def(
          "__len__", [](const State& s) { return s.matches().size(); }, "Number of matches.")
      .def("matches", &match_views,
           "All places where a rule applies, ordered by rule and then by creation of the "
           "nodes.\n\n"
           "What each costs is known without building it, or NaN: see `is_priced`.")
      .def("best", &best_views, nb::arg("k"), nb::kw_only(), nb::arg("rounding_ms") = 0.0,
           "The first k matches by cost difference, then by size difference, then as listed.\n\n"
           "The one order in which searches take matches, and so what decides between equals. "
           "Differences\nup to `rounding_ms` count as none; unknown ones come last. Kept by "
           "`apply`: linear in k, and where\nfewer lower the cost in those that leave it as it "
           "is.\n"
           "Raises ValueError for a negative k.")
      .def("find", &find_match, nb::arg("rule"), nb::arg("tensors"),
           "The match of a rule that binds tensors of these names, or None. Linear in matches.")
      .def("observe", &observe, nb::sig("def observe(self) -> dict[str, numpy.ndarray]"),
           "Graph and matches as arrays by name; `xflowrl.env` says what each column "
           "means.\n\n"
           "Rows of nodes are in order of creation. The arrays are the caller's own. "
           "Linear in the size of graph and matches.")
      .def("repriced", &State::repriced,
           "The same graph, with the prices that the cost table knows by now.\n\n"
           "Only what was unknown is priced again; matches of either state fit the other.")
      .def_prop_ro("is_priced", &State::is_priced,
                   "Are the cost and what each match changes known, not NaN?")
      .def(
          "apply", [](const State& s, int64_t index) { return apply(s, *pick(s, index)); },
          nb::arg("match"),
          "The state after a match, given by its index or itself; this one stays as it is.\n\n"
          "Costs what the rewrite changes, not what the graph is: rules are matched again near it "
          "alone.\n"
          "Raises ValueError for an index out of range, or a match of another state.")
      .def(
          "apply",
          [](const State& s, const MatchView& view) {
            if (view.state->graph() != s.graph())
              throw std::invalid_argument("this match belongs to another state");
            return apply(s, *view.match);
          },
          nb::arg("match"), "The same, for the match itself.")
      .def(
          "explain",
          [](const State& s, const std::string& rule) { return s.explain(rule_number(s, rule)); },
          nb::arg("rule"),
          "Why places that begin to match the rule fail: reason -> count. Raises "
          "ValueError for an unknown rule.")
      .def("__getstate__",
           [](const State& s) {
             return std::make_tuple(s.graph(), s.setting().rules, s.setting().costs, s.cost(),
                                    s.setting().with_taso_hash);
           })
      .def("__setstate__", [](State* self,
                              const std::tuple<Graph, std::shared_ptr<const RuleSet>,
                                               std::shared_ptr<CostTable>, Cost, bool>& state) {
        const auto& [graph, rules, costs, cost, taso_hash] = state;
        if (!rules || !costs) throw std::invalid_argument("pickled State: no rules or no costs");
        new (self) State(graph, std::make_shared<const Setting>(rules, costs, taso_hash), cost);
      });
}

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
  bind_state(m);
  m.def(
      "taso_hash", [](const Graph& g) { return taso_hash(g); }, nb::arg("graph"),
      "TASO's 64-bit hash of a graph, computed anew: coarse, but its search depends on it. Linear "
      "in the graph's size.");
  bind_backtracking(m);
}

}  // namespace xflowrl
