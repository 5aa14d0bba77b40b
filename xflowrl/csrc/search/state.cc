#include "search/state.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

#include "graph/graph_edit.h"
#include "search/legality.h"
#include "search/same_place.h"
#include "taso/taso_hash.h"

namespace xflowrl {
namespace {

size_t at(int64_t i) { return static_cast<size_t>(i); }

std::vector<int32_t> make_key(const Graph& graph, int rule, const Binding& binding) {
  std::vector<int32_t> key;
  key.reserve(1 + binding.nodes.size() + 2 * binding.tensors.size() + binding.sequences.size());
  key.push_back(rule);
  binding.for_each_node([&](NodeId id) { key.push_back(graph.node(id).created); });
  binding.for_each_tensor([&](TensorRef t) {
    key.push_back(graph.node(t.node).created);
    key.push_back(t.output);
  });
  for (const auto& sequence : binding.sequences)
    key.push_back(static_cast<int32_t>(sequence.size()));
  return key;
}

// A commutative operator matched in both operand orders may give one result twice.
void drop_twins(std::vector<MatchPtr>& matches) {
  const auto nodes_equal = [](const Match& a, const Match& b) {
    return a.rule == b.rule && a.delta.hash == b.delta.hash && has_same_nodes(a.binding, b.binding);
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

// The matches found, ordered and without twins.
std::vector<MatchPtr> in_order(std::vector<MatchPtr> found) {
  std::sort(found.begin(), found.end(), ByKey());
  drop_twins(found);
  return found;
}

}  // namespace

State::State(const Graph& graph, std::shared_ptr<const Setting> setting)
    : State(graph, std::move(setting), {std::numeric_limits<double>::quiet_NaN()}) {}

State::State(const Graph& graph, std::shared_ptr<const Setting> setting, const Cost& cost)
    : graph_(std::make_shared<const Graph>(
          with_commutative_hash(graph, setting->rules->is_commutative))),
      setting_(std::move(setting)),
      cost_(cost) {
  price_if_unknown();
  if (setting_->with_taso_hash) taso_hash_ = xflowrl::taso_hash(*graph_);
  find_all();
}

State State::apply(const Match& match) const {
  std::vector<NodeId> touched;
  State child = *this;
  child.graph_ = std::make_shared<const Graph>(rewrite(match, touched));
  child.count(match.delta);
  child.find_near(*graph_, touched);
  return child;
}

State State::apply_each(const std::vector<PlacedMatch>& matches, std::vector<Taken>& taken) const {
  std::vector<NodeId> touched, touched_now;
  State child = *this;
  for (size_t i = 0; i < matches.size(); ++i) {
    const MatchPtr match = child.match_again(matches[i]);
    if (!match) continue;
    if (!match->is_priced() && !taken.empty()) break;
    const std::shared_ptr<const Graph> before = child.graph_;
    child.graph_ = std::make_shared<const Graph>(child.rewrite(*match, touched_now));
    child.count(match->delta);
    touched.insert(touched.end(), touched_now.begin(), touched_now.end());
    taken.push_back({i, {before, match}, child.graph_->num_created(), child.cost_.ms});
  }
  std::ranges::sort(touched);
  touched.erase(std::ranges::unique(touched).begin(), touched.end());
  child.find_near(*graph_, touched);
  return child;
}

Graph State::rewrite(const Match& match, std::vector<NodeId>& touched) const {
  Plan plan;
  make_plan(*graph_, rule(match.rule), match.binding, plan);
  return carry_out(*graph_, plan, touched);
}

// Follows the cost and TASO's hash through a rewrite.
void State::count(const Delta& delta) {
  cost_ += delta.cost;
  taso_hash_ += delta.taso_hash;
  price_if_unknown();
}

void State::price_if_unknown() {
  if (std::isnan(cost_.ms)) cost_ = setting_->costs->price(*graph_);
}

// The match in this graph, which rewrites made of its own; null if it is there no more. Does not
// ask the list of matches, which may be behind.
MatchPtr State::match_again(const PlacedMatch& placed) const {
  const Match& match = *placed.match;
  const Rule& matched = rule(match.rule);
  if (!are_there(match.binding, *placed.graph, *graph_)) return nullptr;
  Matcher matcher(*graph_, setting_->rules->is_commutative);
  matcher.set_places([&](int entry) { return std::vector{match.binding.nodes[at(entry)]}; });
  std::vector<MatchPtr> found;
  matcher.match(matched, match.binding.nodes[at(matched.entries[0].entry)],
                [&](const Binding& binding) {
                  if (!has_same_nodes(binding, match.binding)) return;
                  if (MatchPtr again = make_match(match.rule, binding, nullptr))
                    found.push_back(std::move(again));
                });
  PathSearch paths(*graph_);
  for (const MatchPtr& again : in_order(std::move(found))) {
    if (has_same_names(match.binding, *placed.graph, again->binding, *graph_))
      return may_apply(*again, paths) ? again : nullptr;
  }
  return nullptr;
}

bool State::is_priced() const {
  return !std::isnan(cost_.ms) && std::ranges::all_of(matches_.unsettled(), [](const MatchPtr& m) {
    return m->is_priced();
  });
}

State State::repriced() const {
  State state = *this;
  state.price_if_unknown();
  PathSearch paths(*graph_);
  for (const MatchPtr& match : matches_.unsettled()) {
    if (match->is_priced()) continue;
    state.matches_.remove(match);
    state.place(make_match(match->rule, match->binding, nullptr), paths);
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
  int matched = 0;
  const Matcher::Sink collect = collector(matched, near, found);
  for (const Anchor& anchor : anchors) {
    matched = anchor.rule;
    matcher.match(rule(matched), anchor.node, collect);
  }
  return in_order(std::move(found));
}

// The matches of disconnected sources of which a part is at one of some anchors, which are sorted;
// with `near`, only those that bind a marked node. A part is joined with what is unrelated to it:
// that depends on all of the graph, so it is looked up for many at a time.
std::vector<MatchPtr> State::join_at(const std::vector<Anchor>& anchors,
                                     const std::vector<char>* near) const {
  Matcher matcher(*graph_, setting_->rules->is_commutative);
  Relatives relatives(*graph_);
  std::vector<MatchPtr> found;
  std::vector<NodeId> nodes;
  for (auto next = anchors.begin(); next != anchors.end();) {
    nodes.clear();
    for (auto last = next; last != anchors.end(); ++last) {
      if (!nodes.empty() && nodes.back() == last->node) continue;
      if (nodes.size() == Relatives::kMaxNodes) break;
      nodes.push_back(last->node);
    }
    relatives.look_from(nodes);
    for (size_t i = 0; i < nodes.size(); ++i) {
      for (; next != anchors.end() && next->node == nodes[i]; ++next) {
        const Anchor anchor = *next;
        const Rule& joined = rule(anchor.rule);
        const auto places = [&](int entry) {
          std::vector<NodeId> unrelated;
          if (entry == anchor.entry) return std::vector{anchor.node};
          for (const NodeId id : places_.at(joined.source.nodes[at(entry)].op)) {
            if (!relatives.is_related(id, i)) unrelated.push_back(id);
          }
          return unrelated;
        };
        matcher.set_places(places);
        for (const NodeId id : places(joined.entries[0].entry))
          matcher.match(joined, id, collector(anchor.rule, near, found));
      }
    }
  }
  return in_order(std::move(found));
}

// Makes matches of the bindings of the rule whose number `rule_index` then is; with `near`, of
// those that bind a marked node.
Matcher::Sink State::collector(const int& rule_index, const std::vector<char>* near,
                               std::vector<MatchPtr>& found) const {
  return [this, &rule_index, near, &found](const Binding& binding) {
    bool is_near = !near;
    binding.for_each_node([&](NodeId id) { is_near = is_near || (*near)[at(id)]; });
    if (!is_near) return;
    if (MatchPtr match = make_match(rule_index, binding, nullptr))
      found.push_back(std::move(match));
  };
}

void State::find_all() {
  std::vector<Anchor> anchors, parts;
  for (size_t i = 0; i < graph_->num_slots(); ++i) {
    const auto id = static_cast<NodeId>(i);
    note_place(id);
    if (!graph_->is_live(id) || graph_->node(id).op < 0) continue;
    for (int r : setting_->by_anchor[at(graph_->node(id).op)])
      (rule(r).is_disconnected ? parts : anchors).push_back({id, r, rule(r).entries[0].entry});
  }
  PathSearch paths(*graph_);
  for (const MatchPtr& match : find_at(anchors, nullptr)) place(match, paths);
  std::erase_if(parts, [&](const Anchor& part) { return !is_place(part.node); });
  for (const MatchPtr& match : join_at(parts, nullptr)) place(match, paths);
}

// Keeps the parent's matches that have nothing to do with what changed and finds the others anew.
// A match follows from its nodes and their neighbours, so neighbours of touched nodes count too.
void State::find_near(const Graph& before, const std::vector<NodeId>& touched) {
  std::vector<char> near(graph_->num_slots(), 0);
  std::vector<NodeId> marked, gone, below_lifted;
  const auto mark = [&](NodeId id) {
    if (id != kNoNode && !near[at(id)]) near[at(id)] = 1, marked.push_back(id);
  };
  for (NodeId id : touched) {
    note_place(id);
    if (!graph_->is_live(id)) {
      gone.push_back(id);
      continue;
    }
    if (graph_->shares(before, id)) {  // a level was lifted, nothing else
      for (const Use& use : graph_->uses(id)) below_lifted.push_back(use.node);
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
  // Of those that bind what a lifted node computes, levels may no longer tell that they are free.
  for (const MatchPtr& match : matches_.at(below_lifted)) {
    matches_.remove(match);
    place(match, paths);
  }
  for (const MatchPtr& match : MatchList(matches_.unsettled())) {
    matches_.remove(match);
    place(make_match(match->rule, match->binding, nullptr), paths);
  }
  const bool with_constants = setting_->rules->is_faithful;
  const PathChange made(*graph_, missing_paths(*graph_, before, touched, with_constants));
  const PathChange broken(*graph_, missing_paths(before, *graph_, touched, with_constants));
  check_paths(made, broken, paths);
  for (const MatchPtr& match : find_at(setting_->by_operator.anchors_near(*graph_, marked), &near))
    place(match, paths);
  if (places_.empty()) return;
  // Those between whose parts the last path was broken were not kept.
  const bool from_below = broken.below().size() < broken.above().size();
  const std::vector<NodeId>& parted = from_below ? broken.below() : broken.above();
  for (const MatchPtr& match : matches_.at(parted)) {
    if (rule(match->rule).is_disconnected) matches_.remove(match);
  }
  std::ranges::for_each(parted, mark);
  for (const MatchPtr& match : join_at(setting_->by_part.anchors_near(*graph_, marked), &near))
    place(match, paths);
}

// Places of a disconnected source that may not be joined are not kept, for there may be as many as
// nodes squared.
void State::place(const MatchPtr& match, PathSearch& paths) {
  using Freedom = MatchIndex::Freedom;
  const int num_searches = paths.num_searches();
  const bool legal = may_apply(*match, paths);
  if (!legal && rule(match->rule).is_disconnected) return;
  const bool is_free = legal && paths.num_searches() == num_searches;
  matches_.add(match, is_free ? Freedom::kFree : legal ? Freedom::kEntangled : Freedom::kBlocked);
}

// Paths have been made and broken, maybe far away.
void State::check_paths(const PathChange& made, const PathChange& broken, PathSearch& paths) {
  const MatchList entangled = made.is_none() ? MatchList() : matches_.entangled();
  const MatchList blocked = broken.is_none() ? MatchList() : matches_.blocked();
  for (const MatchPtr& match : entangled) {
    if (!may_concern(made, match->binding) || may_apply(*match, paths)) continue;
    if (rule(match->rule).is_disconnected) {
      matches_.remove(match);
    } else {
      matches_.block(match);
    }
  }
  for (const MatchPtr& match : blocked) {
    if (may_concern(broken, match->binding) && may_apply(*match, paths)) matches_.unblock(match);
  }
}

bool State::may_apply(const Match& match, PathSearch& paths) const {
  return is_legal(*graph_, rule(match.rule), match.binding, setting_->rules->is_faithful, paths);
}

// May a part of a disconnected source be at this node, as far as it alone tells?
bool State::is_place(NodeId id) const {
  const bool is_fixed = graph_->node(id).is_constant && !setting_->rules->is_faithful;
  return !graph_->node(id).is_opaque && !is_fixed;
}

// Notes anew what is in this slot.
void State::note_place(NodeId id) {
  for (const OpIndex op : setting_->part_operators) {
    places_[op].erase(id);
    if (graph_->is_live(id) && graph_->node(id).op == op && is_place(id)) places_[op].insert(id);
  }
}

Reasons State::explain(int rule_index) const {
  const Rule& explained = rule(rule_index);
  Reasons reasons;
  PathSearch paths(*graph_);
  Relatives relatives(*graph_);
  Matcher matcher(*graph_, setting_->rules->is_commutative, &reasons);
  matcher.set_places([&](int entry) {
    std::vector<NodeId> unrelated;
    for (const NodeId id : places_.at(explained.source.nodes[at(entry)].op)) {
      if (!relatives.is_related(id, 0)) unrelated.push_back(id);
    }
    return unrelated;
  });
  const OpIndex op = anchor_op(explained);
  for (size_t i = 0; i < graph_->num_slots(); ++i) {
    const auto id = static_cast<NodeId>(i);
    if (!graph_->is_live(id) || graph_->node(id).op != op) continue;
    if (explained.is_disconnected) relatives.look_from({&id, 1});
    matcher.match(explained, id, [&](const Binding& binding) {
      const MatchPtr match = make_match(rule_index, binding, &reasons);
      if (match && !may_apply(*match, paths)) ++reasons["a path leaves the match and comes back"];
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
