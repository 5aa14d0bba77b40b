// How a matcher gets about in a rule's source: from bound places to unbound ones.
#pragma once

#include "rule/rule.h"

namespace xflowrl {

// Fills in `entries`, `routes` and `crossings`. Returns why the source cannot be matched, or
// nullptr.
const char* plan_routes(Rule& rule);

}  // namespace xflowrl
