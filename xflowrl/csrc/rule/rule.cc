#include "rule/rule.h"

#include <map>
#include <stdexcept>

namespace xflowrl {

std::shared_ptr<const RuleSet> RuleSet::join(
    const std::vector<std::shared_ptr<const RuleSet>>& sets, const std::string& name) {
  auto joined = std::make_shared<RuleSet>();
  joined->name = name;
  std::map<std::string, std::string> files;
  for (const auto& set : sets) {
    if (!set) throw std::invalid_argument("rule sets to be joined: one is None");
    if (set->is_commutative != sets[0]->is_commutative || set->is_faithful != sets[0]->is_faithful)
      throw std::invalid_argument("rule sets \"" + sets[0]->name + "\" and \"" + set->name +
                                  "\" differ in being :commutative or :faithful");
    for (const auto& rule : set->rules) {
      const auto [known, is_new] = files.emplace(rule->name, rule->filename);
      if (!is_new)
        throw std::invalid_argument("rule \"" + rule->name + "\" is defined in " + known->second +
                                    " and in " + rule->filename);
      joined->rules.push_back(rule);
    }
    joined->is_commutative = set->is_commutative;
    joined->is_faithful = set->is_faithful;
  }
  return joined;
}

}  // namespace xflowrl
