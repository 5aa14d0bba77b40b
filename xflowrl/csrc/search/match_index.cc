#include "search/match_index.h"

#include <algorithm>
#include <utility>

namespace xflowrl {

std::vector<MatchPtr> MatchIndex::best(size_t k, double rounding_ms) const {
  Matches best;
  auto next = ranked_.begin();
  const auto take = [&](const MatchPtr& match) {
    if (best.size() < k) best.push_back(match);
  };
  for (; best.size() < k && next != ranked_.end() && next->cost_ms < -rounding_ms; ++next)
    take(next->match);
  if (best.size() == k) return best;
  Matches level;
  for (; next != ranked_.end() && next->cost_ms <= rounding_ms; ++next)
    level.push_back(next->match);
  const auto end = level.begin() + static_cast<long>(std::min(k - best.size(), level.size()));
  std::partial_sort(level.begin(), end, level.end(),
                    [](const MatchPtr& a, const MatchPtr& b) { return ByRank::is_before(*a, *b); });
  std::for_each(level.begin(), end, take);
  for (; best.size() < k && next != ranked_.end(); ++next) take(next->match);
  return best;
}

std::vector<MatchPtr> MatchIndex::at(const std::vector<NodeId>& nodes) const {
  Matches found;
  for (const NodeId node : nodes) {
    const auto i = static_cast<size_t>(node);
    if (i < by_node_.size() && by_node_[i])
      found.insert(found.end(), by_node_[i]->begin(), by_node_[i]->end());
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

void MatchIndex::add(const MatchPtr& match, Freedom freedom) {
  match->binding.for_each_node([&](NodeId id) { matches_at(id).push_back(match); });
  if (!match->is_settled()) unsettled_.insert(match);
  if (freedom == Freedom::kBlocked) {
    blocked_.insert(match);
    return;
  }
  if (freedom == Freedom::kEntangled) entangled_.insert(match);
  list(match);
}

void MatchIndex::remove(const MatchPtr& match) {
  match->binding.for_each_node([&](NodeId id) { std::erase(matches_at(id), match); });
  if (!match->is_settled()) unsettled_.erase(match);
  if (blocked_.erase(match)) return;
  entangled_.erase(match);
  unlist(match);
}

void MatchIndex::block(MatchPtr match) {
  entangled_.erase(match);
  unlist(match);
  blocked_.insert(std::move(match));
}

void MatchIndex::unblock(MatchPtr match) {
  blocked_.erase(match);
  list(match);
  entangled_.insert(std::move(match));
}

void MatchIndex::list(const MatchPtr& match) {
  listed_.insert(match);
  ranked_.insert(Ranked(match));
}

void MatchIndex::unlist(const MatchPtr& match) {
  listed_.erase(match);
  ranked_.erase(Ranked(match));
}

MatchIndex::Matches& MatchIndex::matches_at(NodeId node) {
  const auto i = static_cast<size_t>(node);
  if (i >= by_node_.size()) by_node_.resize(i + 1);
  auto& matches = by_node_.mut(i);
  if (!matches) {
    matches = std::make_shared<Matches>();
  } else if (matches.use_count() > 1) {
    matches = std::make_shared<Matches>(*matches);
  }
  return *matches;
}

}  // namespace xflowrl
