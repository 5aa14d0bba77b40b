#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "bind/bind.h"
#include "bind/let_others_run.h"
#include "bind/to_numpy.h"
#include "search/observation.h"
#include "search/state.h"

namespace nb = nanobind;

namespace xflowrl {
namespace {

// A match together with the state that it belongs to.
struct MatchView {
  std::shared_ptr<const State> state;
  MatchPtr match;
};

struct TakenView {
  std::shared_ptr<const RuleSet> rules;
  Taken taken;

  const Graph& graph() const { return *taken.placed.graph; }  // before it
  const Match& match() const { return *taken.placed.match; }
};

// Where a match is: a rule and the values of the tensors that it binds, which rewrites elsewhere
// leave alone, whatever names and numbers they give.
struct Place {
  int rule;
  std::vector<Hash128> values;
  bool operator==(const Place&) const = default;
};

Hash128 value_of(const Graph& graph, TensorRef t) {
  return t.node == kNoNode ? Hash128{} : graph.output(t).value_id;
}

Place place_of(const Graph& graph, const Match& match) {
  Place place{match.rule, {}};
  match.binding.for_each_tensor([&](TensorRef t) { place.values.push_back(value_of(graph, t)); });
  match.binding.for_each_node([&](NodeId id) { place.values.push_back(value_of(graph, {id, 0})); });
  return place;
}

std::vector<int32_t> created_of(const Graph& graph, const Match& match) {
  std::vector<int32_t> numbers;
  match.binding.for_each_node([&](NodeId id) { numbers.push_back(graph.node(id).created); });
  return numbers;
}

// What it bound and what it made.
std::vector<int32_t> nodes_of(const TakenView& view) {
  std::vector<int32_t> numbers = created_of(view.graph(), view.match());
  for (int32_t made = view.graph().num_created(); made < view.taken.num_created; ++made)
    numbers.push_back(made);
  return numbers;
}

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

// The number of a rule, or how many there are if none has the name.
int index_of_rule(const State& state, const std::string& name) {
  const auto& rules = state.setting().rules->rules;
  const auto found =
      std::ranges::find_if(rules, [&](const auto& rule) { return rule->name == name; });
  return static_cast<int>(found - rules.begin());
}

// The first match of a rule that meets a condition.
template <class Condition>
std::optional<MatchView> find_of_rule(const std::shared_ptr<State>& state, int rule,
                                      const Condition& is_meant) {
  const MatchList& listed = state->matches();
  auto it = listed.first_beyond([rule](const MatchPtr& m) { return m->rule < rule; });
  for (; it != listed.end() && (*it)->rule == rule; ++it) {
    if (is_meant(**it)) return MatchView{state, *it};
  }
  return std::nullopt;
}

// By its first output most matches of a rule are told apart.
TensorRef of_last_node(const Match& match) {
  NodeId last = kNoNode;
  match.binding.for_each_node([&](NodeId id) { last = id; });
  return {last, 0};
}

std::optional<MatchView> find_match(const std::shared_ptr<State>& state, const std::string& rule,
                                    const std::vector<std::string>& tensors) {
  const Graph& graph = *state->graph();
  return find_of_rule(state, index_of_rule(*state, rule), [&](const Match& match) {
    return !tensors.empty() && graph.tensor_name(of_last_node(match)) == tensors.back() &&
           tensor_names(graph, match) == tensors;
  });
}

std::optional<MatchView> find_place(const std::shared_ptr<State>& state, const Place& place) {
  const Graph& graph = *state->graph();
  return find_of_rule(state, place.rule, [&](const Match& match) {
    return value_of(graph, of_last_node(match)) == place.values.back() &&
           place_of(graph, match) == place;
  });
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

State apply(const State& state, const Match& match) {
  const LetOthersRun release(state);
  return state.apply(match);
}

std::pair<State, std::vector<TakenView>> apply_each(const State& state,
                                                    const std::vector<MatchView>& views) {
  std::vector<PlacedMatch> matches;
  for (const MatchView& view : views) {
    if (&view.state->setting() != &state.setting())
      throw std::invalid_argument("a match belongs to a state of another original");
    matches.push_back({view.state->graph(), view.match});
  }
  std::vector<Taken> taken;
  std::optional<State> after;
  {
    const LetOthersRun release(state);
    after = state.apply_each(matches, taken);
  }
  std::vector<TakenView> taken_views;
  for (Taken& one : taken) taken_views.push_back({state.setting().rules, std::move(one)});
  return {*std::move(after), std::move(taken_views)};
}

int rule_number(const State& state, const std::string& name) {
  const int index = index_of_rule(state, name);
  if (static_cast<size_t>(index) == state.setting().rules->rules.size())
    throw std::invalid_argument("there is no rule \"" + name + "\" in this rule set");
  return index;
}

}  // namespace

void bind_state(nb::module_& m) {
  nb::class_<Place>(
      m, "Place",
      "Where a match is, by its rule and the values it binds: found again after other "
      "rewrites, in\nanother order, of the same original, where names would differ.");
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
          "created", [](const MatchView& v) { return created_of(*v.state->graph(), *v.match); },
          "Creation numbers of the matched nodes, which no other node has in a line of rewrites: "
          "a\nrewrite gives the nodes that it makes the next ones.")
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
  bind_shared<TakenView>(m, "Taken", "One of the matches that `State.apply_each` took.")
      .def_prop_ro(
          "index", [](const TakenView& v) { return v.taken.index; }, "Among those given.")
      .def_prop_ro(
          "rule",
          [](const TakenView& v) {
            return v.rules->rules[static_cast<size_t>(v.match().rule)]->name;
          },
          "The rule's name.")
      .def_prop_ro(
          "tensors", [](const TakenView& v) { return tensor_names(v.graph(), v.match()); },
          "Names of the tensors it bound, as `Match.tensors`.")
      .def_prop_ro(
          "place", [](const TakenView& v) { return place_of(v.graph(), v.match()); },
          "Where it was, for `State.find`.")
      .def_prop_ro("nodes", &nodes_of,
                   "Creation numbers of the nodes that it bound and of those that it made.")
      .def_prop_ro(
          "cost_difference_ms", [](const TakenView& v) { return v.match().delta.cost.ms; },
          "What it added to the graph's cost; NaN where a price was unknown.")
      .def_prop_ro(
          "cost_ms", [](const TakenView& v) { return v.taken.cost_ms; },
          "The graph's cost after it, as `State.cost`.");
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
           "The match of a rule that binds tensors of these names, or None. Linear in the rule's "
           "matches.")
      .def("find", &find_place, nb::arg("place"),
           "A match there, or None; the states have the same rules and original. Linear in the "
           "rule's matches.")
      .def(
          "match",
          [](const std::shared_ptr<State>& s, int64_t index) {
            return MatchView{s, pick(*s, index)};
          },
          nb::arg("index"), "One of `matches()`. Raises ValueError for an index out of range.")
      .def_prop_ro(
          "num_created", [](const State& s) { return s.graph()->num_created(); },
          "So many nodes its graph and those that it was made of ever had: the number of the next.")
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
      .def("apply_each", &apply_each, nb::arg("matches"),
           "The state after several matches, one after the other, and those that were taken.\n\n"
           "They are this state's, or of states that it was made of, and taken if they are still "
           "there: a rule\nbinds the same nodes, and tensors of the same names. It is the state "
           "that `apply` would come to step\nby step, but matches are looked for once. Ends before "
           "one whose price is not known by then, unless\nnone was taken. Raises ValueError for a "
           "match of a state of another original.")
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

}  // namespace xflowrl
