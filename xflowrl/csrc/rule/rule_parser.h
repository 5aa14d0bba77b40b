// From rule text to rules. The language is described in the Python package, rules/README.md.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "rule/rule.h"

namespace xflowrl {

// Throws std::invalid_argument "file:line:column: message".
std::shared_ptr<const RuleSet> parse_rules(std::string_view text, const std::string& filename);

}  // namespace xflowrl
