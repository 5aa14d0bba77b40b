// Tensors, operators and attributes of rule text.
#pragma once

#include "rule/rule_scope.h"

namespace xflowrl {

// One item of the source or target list, appended to the side that is being parsed.
void parse_tensor_item(RuleScope& scope, const Sexpr& item);

}  // namespace xflowrl
