// What the expressions of a rule come to at one place of a graph.
#pragma once

#include "rewrite/binding.h"
#include "rule/expression.h"

namespace xflowrl {

// Evaluates under a binding. Returns false where it has no value: an index out of range, a division
// by zero, operands of the wrong kind. Truth is 1 or 0; arithmetic on lists is elementwise.
bool evaluate(const Expr& expr, const Graph& graph, const Binding& binding, AttrValue& result);

bool is_true(const AttrValue& value);

}  // namespace xflowrl
