#include "search/state.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <stdexcept>
#include <utility>

#include "graph/graph_edit.h"
#include "taso/taso_hash.h"

namespace xflowrl {
namespace {

size_t at(int64_t i) { return static_cast<size_t>(i); }

std::vector<int32_t> make_key(const Graph& graph, int rule, const Binding& binding) {
  std::vector<int32_t> key{rule};
  binding.for_each_node([&](NodeId id) { key.push_back(graph.node(id).created); });
  binding.for_each_tensor([&](TensorRef t) {
    key.push_back(graph.node(t.node).created);
    key.push_back(t.output);
  });
  for (const auto& sequence : binding.sequences)
    key.push_back(static_cast<int32_t>(sequence.size()));
  return key;
}

bool is_unknown(const Cost& cost) { return std::isnan(cost.ms); }

// A commutative operator matched in both operand orders may give one result twice.
void drop_twins(std::vector<MatchPtr>& matches) {
  const auto nodes_equal = [](const Match& a, const Match& b) {
    return a.rule == b.rule && a.delta.hash == b.delta.hash && a.binding.nodes == b.binding.nodes &&
           a.binding.each_nodes == b.binding.each_nodes;
  };
  std::vector<MatchPtr> kept;
  size_t group = 0;  // matches of one rule at one set of nodes lie together
  for (MatchPtr& match : matches) {
    if (!kept.empty() &&
        (kept.back()->rule != match->rule || kept.back()->binding.nodes != match->binding.nodes))
      group = kept.size();
    const bool twin = std::any_of(kept.begin() + static_cast<long>(group), kept.end(),
                                  [&](const MatchPtr& m) { return nodes_equal(*m, *match); });
    if (!twin) kept.push_back(std::move(match));
  }
  matches = std::move(kept);
}

// The operator of the node from which a rule's source is matched.
OpIndex anchor_op(const Rule& rule) { return rule.source.nodes[at(rule.entries[0].entry)].op; }

// The matches found, ordered and without twins.
std::vector<MatchPtr> in_order(std::vector<MatchPtr> found) {
  std::sort(found.begin(), found.end(), ByKey());
  drop_twins(found);
  return found;
}

// Those of some matches that are not among others; both in order.
std::vector<MatchPtr> missing_from(const std::vector<MatchPtr>& others,
                                   const std::vector<MatchPtr>& some) {
  std::vector<MatchPtr> missing;
  auto other = others.begin();
  for (const MatchPtr& match : some) {
    // Most are the very same, and their keys need not be looked at.
    while (other != others.end() && *other != match && ByKey()(*other, match)) ++other;
    auto same = other;
    while (same != others.end() && *same != match && !ByKey()(match, *same)) ++same;
    if (same == others.end() || *same != match) missing.push_back(match);
  }
  return missing;
}

}  // namespace

Setting::Setting(std::shared_ptr<const RuleSet> rule_set, std::shared_ptr<CostTable> cost_table,
                 bool taso_hash)
    : rules(std::move(rule_set)), costs(std::move(cost_table)), with_taso_hash(taso_hash) {
  by_operator.resize(operator_table().size());
  by_anchor.resize(operator_table().size());
  for (size_t r = 0; r < rules->rules.size(); ++r) {
    const Rule& rule = *rules->rules[r];
    if (rule.opset > rules->opset) continue;
    if (rule.is_disconnected) {
      disconnected.push_back(static_cast<int>(r));
      continue;
    }
    for (size_t n = 0; n < rule.source.nodes.size(); ++n)
      by_operator[at(rule.source.nodes[n].op)].push_back(
          {static_cast<int>(r), static_cast<int>(n)});
    by_anchor[at(anchor_op(rule))].push_back(static_cast<int>(r));
  }
}

State::State(const Graph& graph, std::shared_ptr<const Setting> setting)
    : State(graph, std::move(setting), {std::numeric_limits<double>::quiet_NaN()}) {}

State::State(const Graph& graph, std::shared_ptr<const Setting> setting, const Cost& cost)
    : graph_(std::make_shared<const Graph>(
          with_commutative_hash(graph, setting->rules->is_commutative))),
      setting_(std::move(setting)),
      cost_(cost) {
  if (std::isnan(cost_.ms)) cost_ = setting_->costs->price(*graph_);
  if (setting_->with_taso_hash) taso_hash_ = xflowrl::taso_hash(*graph_);
  find_all();
  find_pairs();
}

State State::apply(const Match& match) const {
  State child = *this;
  std::vector<NodeId> touched;
  child.graph_ = std::make_shared<const Graph>(rewrite(match, touched));
  child.cost_ += match.delta.cost;
  child.taso_hash_ += match.delta.taso_hash;
  if (is_unknown(child.cost_)) child.cost_ = setting_->costs->price(*child.graph_);
  child.find_near(touched);
  child.find_pairs();
  return child;
}

Graph State::rewrite(const Match& match, std::vector<NodeId>& touched) const {
  Plan plan;
  make_plan(*graph_, rule(match.rule), match.binding, plan);
  return carry_out(*graph_, plan, touched);
}

bool State::is_priced() const {
  return !is_unknown(cost_) && std::ranges::all_of(matches_.unsettled(), [](const MatchPtr& m) {
    return m->is_priced();
  });
}

State State::repriced() const {
  State state = *this;
  if (is_unknown(cost_)) state.cost_ = setting_->costs->price(*graph_);
  PathSearch paths(*graph_);
  for (const MatchPtr& match : matches_.unsettled()) {
    if (match->is_priced() || rule(match->rule).is_disconnected) continue;
    state.matches_.remove(match);
    state.place(make_match(match->rule, match->binding, nullptr), paths);
  }
  for (MatchPtr& pair : state.pairs_) {
    if (pair->is_priced()) continue;
    state.matches_.remove(pair, false);
    pair = make_match(pair->rule, pair->binding, nullptr);
    state.matches_.add(pair, MatchIndex::Freedom::kFree, false);
  }
  return state;
}

// Null if the rule's target does not fit here.
MatchPtr State::make_match(int rule_index, const Binding& binding, Reasons* reasons) const {
  Plan plan;
  if (const char* error = make_plan(*graph_, rule(rule_index), binding, plan)) {
    if (reasons) ++(*reasons)[std::string("target: ") + error];
    return nullptr;
  }
  auto match = std::make_shared<Match>();
  match->rule = rule_index;
  match->binding = binding;
  match->delta = compute_delta(*graph_, plan, *setting_->costs, setting_->with_taso_hash);
  match->key = make_key(*graph_, rule_index, binding);
  return match;
}

// The matches at some anchors; with `near`, only those that bind a marked node.
std::vector<MatchPtr> State::find_at(const std::vector<Anchor>& anchors,
                                     const std::vector<char>* near) const {
  Matcher matcher(*graph_, setting_->rules->is_commutative);
  std::vector<MatchPtr> found;
  for (const Anchor& anchor : anchors) {
    matcher.match(rule(anchor.rule), anchor.node, [&](const Binding& binding) {
      bool is_near = !near;
      binding.for_each_node([&](NodeId id) { is_near = is_near || (*near)[at(id)]; });
      if (!is_near) return;
      if (MatchPtr match = make_match(anchor.rule, binding, nullptr))
        found.push_back(std::move(match));
    });
  }
  return in_order(std::move(found));
}

void State::find_all() {
  std::vector<Anchor> anchors;
  for (size_t i = 0; i < graph_->num_slots(); ++i) {
    const auto id = static_cast<NodeId>(i);
    if (!graph_->is_live(id) || graph_->node(id).op < 0) continue;
    for (int rule : setting_->by_anchor[at(graph_->node(id).op)]) anchors.push_back({rule, id});
  }
  PathSearch paths(*graph_);
  for (const MatchPtr& match : find_at(anchors, nullptr)) place(match, paths);
}

// Keeps the parent's matches that have nothing to do with what changed and finds the others anew.
// A match follows from its nodes and their neighbours, so neighbours of touched nodes count too.
void State::find_near(const std::vector<NodeId>& touched) {
  std::vector<char> near(graph_->num_slots(), 0);
  std::vector<NodeId> marked, gone;
  const auto mark = [&](NodeId id) {
    if (id != kNoNode && !near[at(id)]) near[at(id)] = 1, marked.push_back(id);
  };
  for (NodeId id : touched) {
    if (!graph_->is_live(id)) {
      gone.push_back(id);
      continue;
    }
    mark(id);
    for (const Use& use : graph_->uses(id)) mark(use.node);
    for (const TensorRef& t : graph_->node(id).inputs) mark(t.node);
  }
  for (const auto* nodes : {&marked, &gone}) {
    for (const MatchPtr& match : matches_.at(*nodes)) matches_.remove(match);
  }
  PathSearch paths(*graph_);
  for (const MatchPtr& match : MatchList(matches_.unsettled())) {
    if (rule(match->rule).is_disconnected) continue;
    matches_.remove(match);
    place(make_match(match->rule, match->binding, nullptr), paths);
  }
  check_paths(paths);
  for (const MatchPtr& match : find_at(anchors_near(marked), &near)) place(match, paths);
  std::erase_if(pairs_, [&](const MatchPtr& pair) {
    bool changed = false;
    pair->binding.for_each_node(
        [&](NodeId id) { changed |= near[at(id)] != 0 || !graph_->is_live(id); });
    if (changed) matches_.remove(pair, false);
    return changed;
  });
}

void State::place(const MatchPtr& match, PathSearch& paths) {
  using Freedom = MatchIndex::Freedom;
  const int num_searches = paths.num_searches();
  const bool legal = is_legal(*match, paths);
  const bool is_free = legal && paths.num_searches() == num_searches;
  matches_.add(match, is_free ? Freedom::kFree : legal ? Freedom::kEntangled : Freedom::kBlocked);
}

// A path may have come or gone anywhere.
void State::check_paths(PathSearch& paths) {
  const MatchList entangled = matches_.entangled(), blocked = matches_.blocked();
  for (const MatchPtr& match : entangled) {
    if (!is_legal(*match, paths)) matches_.block(match);
  }
  for (const MatchPtr& match : blocked) {
    if (is_legal(*match, paths)) matches_.unblock(match);
  }
}

// Every match that binds a marked node has its anchor at the end of that pattern node's route.
std::vector<State::Anchor> State::anchors_near(const std::vector<NodeId>& marked) const {
  std::vector<Anchor> anchors;
  std::vector<NodeId> places, next;
  for (NodeId id : marked) {
    const Node& node = graph_->node(id);
    if (node.op < kFirstOperator || node.is_opaque) continue;
    for (const Setting::Entry& entry : setting_->by_operator[at(node.op)]) {
      places = {id};
      for (const Move& move : rule(entry.rule).routes[at(entry.node)]) {
        next.clear();
        const auto arrive = [&](NodeId to) {
          if (to != kNoNode && graph_->node(to).op == move.op) next.push_back(to);
        };
        for (NodeId place : places) {
          const Node& from = graph_->node(place);
          if (move.kind == Move::Kind::kToConsumers) {
            for (const Use& use : graph_->uses(place)) arrive(use.node);
          } else if (move.kind == Move::Kind::kToProducer) {
            for (const TensorRef& t : from.inputs) arrive(t.node);
          } else {
            for (const TensorRef& t : from.inputs) {
              if (t.node == kNoNode) continue;
              for (const Use& use : graph_->uses(t.node)) {
                if (use.output == t.output) arrive(use.node);
              }
            }
          }
        }
        std::sort(next.begin(), next.end());
        next.erase(std::unique(next.begin(), next.end()), next.end());
        places = next;
      }
      for (NodeId anchor : places) anchors.push_back({entry.rule, anchor});
    }
  }
  std::sort(anchors.begin(), anchors.end());
  anchors.erase(std::unique(anchors.begin(), anchors.end()), anchors.end());
  return anchors;
}

bool State::is_legal(const Match& match, PathSearch& paths) const {
  const bool with_constants = setting_->rules->is_faithful;
  const Binding& binding = match.binding;
  const auto is_apart = [&](NodeId from, TensorRef to) {
    return to.node == kNoNode || (graph_->is_constant(to) && !with_constants) ||
           !paths.leads(from, to.node);
  };
  const auto is_clear = [&](NodeId from, const OperandPattern& variable) {
    if (graph_->node(from).is_constant && !with_constants) return true;
    if (variable.kind != OperandPattern::Kind::kSequence)
      return is_apart(from, binding.tensors[at(variable.var)]);
    return std::ranges::all_of(binding.sequences[at(variable.var)],
                               [&](TensorRef t) { return is_apart(from, t); });
  };
  return std::ranges::all_of(rule(match.rule).crossings, [&](const Crossing& crossing) {
    const NodeId node = binding.nodes[at(crossing.node)];
    return (node == kNoNode || is_clear(node, crossing.variable)) &&
           std::ranges::all_of(binding.each_nodes[at(crossing.node)],
                               [&](NodeId id) { return is_clear(id, crossing.variable); });
  });
}

Reachability State::reachability() const {
  return Reachability(*graph_, setting_->rules->is_faithful);
}

// Pairs of unrelated places are looked up in each state: which they are depends on all of the
// graph, and there may be as many as nodes squared. What the parent knew of them is in pairs_.
void State::find_pairs() {
  if (setting_->disconnected.empty()) return;
  Reachability reach = reachability();
  Matcher matcher(*graph_, setting_->rules->is_commutative);
  matcher.set_unrelated([&](NodeId anchor, OpIndex op) { return reach.unrelated(anchor, op); });
  std::vector<MatchPtr> found;
  for (int index : setting_->disconnected) {
    const OpIndex op = anchor_op(rule(index));
    for (size_t i = 0; i < graph_->num_slots(); ++i) {
      const auto id = static_cast<NodeId>(i);
      if (!graph_->is_live(id) || graph_->node(id).op != op) continue;
      if (graph_->node(id).is_constant && !rule(index).matches_constants) continue;
      matcher.match(rule(index), id, [&](const Binding& binding) {
        MatchPtr match = known_pair(make_key(*graph_, index, binding));
        if (!match) match = make_match(index, binding, nullptr);
        if (match) found.push_back(std::move(match));
      });
    }
  }
  found = in_order(std::move(found));
  PathSearch paths(*graph_);
  std::erase_if(found, [&](const MatchPtr& match) { return !is_legal(*match, paths); });
  const std::vector<MatchPtr> known = std::exchange(pairs_, std::move(found));
  for (const MatchPtr& pair : missing_from(pairs_, known)) matches_.remove(pair, false);
  for (const MatchPtr& pair : missing_from(known, pairs_))
    matches_.add(pair, MatchIndex::Freedom::kFree, false);
}

// A pair that the parent knew; null if there is none that still holds.
MatchPtr State::known_pair(const std::vector<int32_t>& key) const {
  const auto at_key = std::lower_bound(
      pairs_.begin(), pairs_.end(), key,
      [](const MatchPtr& match, const std::vector<int32_t>& k) { return match->key < k; });
  const bool holds = at_key != pairs_.end() && (*at_key)->key == key && (*at_key)->is_settled();
  return holds ? *at_key : nullptr;
}

Reasons State::explain(int rule_index) const {
  const Rule& explained = rule(rule_index);
  Reasons reasons;
  PathSearch paths(*graph_);
  std::optional<Reachability> reach;
  Matcher matcher(*graph_, setting_->rules->is_commutative, &reasons);
  if (explained.is_disconnected) reach.emplace(reachability());
  matcher.set_unrelated([&](NodeId anchor, OpIndex op) { return reach->unrelated(anchor, op); });
  const OpIndex op = anchor_op(explained);
  for (size_t i = 0; i < graph_->num_slots(); ++i) {
    const auto id = static_cast<NodeId>(i);
    if (!graph_->is_live(id) || graph_->node(id).op != op) continue;
    matcher.match(explained, id, [&](const Binding& binding) {
      const MatchPtr match = make_match(rule_index, binding, &reasons);
      if (match && !is_legal(*match, paths)) ++reasons["a path leaves the match and comes back"];
    });
  }
  return reasons;
}

std::vector<std::string> tensor_names(const Graph& graph, const Match& match) {
  std::vector<std::string> names;
  for (const TensorRef& t : match.binding.tensors)
    names.push_back(t.node == kNoNode ? "" : graph.tensor_name(t));
  for (const auto& sequence : match.binding.sequences) {
    for (const TensorRef& t : sequence) names.push_back(graph.tensor_name(t));
    names.emplace_back();  // so that it is seen where one sequence ends and the next begins
  }
  match.binding.for_each_node([&](NodeId id) { names.push_back(graph.tensor_name({id, 0})); });
  return names;
}

}  // namespace xflowrl
