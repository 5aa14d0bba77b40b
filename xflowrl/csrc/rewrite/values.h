// Arithmetic and order on attribute values.
#pragma once

#include "rule/expression.h"

namespace xflowrl::values {

// Numbers are compared as numbers, whatever their type; empty lists are equal.
bool equal(const AttrValue& a, const AttrValue& b);
bool as_int(const AttrValue& value, int64_t& out);
// Integers count as numbers.
bool as_number(const AttrValue& value, double& out);
// a = a fn b. Lists combine elementwise with lists of their length and with numbers. False: the
// operands do not fit, or the result is not defined.
bool combine(Fn fn, AttrValue& a, const AttrValue& b);
// out = a fn b for =, <, <=, > and >=. Lists are ordered if all their elements are.
bool compare(Fn fn, const AttrValue& a, const AttrValue& b, AttrValue& out);

}  // namespace xflowrl::values
