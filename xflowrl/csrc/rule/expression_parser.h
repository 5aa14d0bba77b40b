// Expressions of rule text.
#pragma once

#include "rule/rule_scope.h"

namespace xflowrl {

Expr parse_expression(RuleScope& scope, const Sexpr& item);

}  // namespace xflowrl
