#include "rewrite/values.h"

#include <algorithm>
#include <limits>

namespace xflowrl::values {
namespace {

// Python's floor division and modulo, so that signs behave the same everywhere.
bool divide(int64_t a, int64_t b, bool want_remainder, int64_t& out) {
  if (b == 0 || (b == -1 && a == std::numeric_limits<int64_t>::min())) return false;
  int64_t quotient = a / b;
  if (a % b != 0 && (a < 0) != (b < 0)) --quotient;
  out = want_remainder ? a - quotient * b : quotient;
  return true;
}

bool combine_numbers(Fn fn, AttrValue& a, const AttrValue& b) {
  int64_t i, j;
  if (as_int(a, i) && as_int(b, j)) {
    int64_t r = 0;
    switch (fn) {
      case Fn::kAdd:
        if (__builtin_add_overflow(i, j, &r)) return false;
        break;
      case Fn::kSub:
        if (__builtin_sub_overflow(i, j, &r)) return false;
        break;
      case Fn::kMul:
        if (__builtin_mul_overflow(i, j, &r)) return false;
        break;
      case Fn::kMin:
        r = std::min(i, j);
        break;
      case Fn::kMax:
        r = std::max(i, j);
        break;
      default:
        if (!divide(i, j, fn == Fn::kMod, r)) return false;
    }
    return a = r, true;
  }
  double x, y;
  if (!as_number(a, x) || !as_number(b, y)) return false;
  switch (fn) {
    case Fn::kAdd:
      return a = x + y, true;
    case Fn::kSub:
      return a = x - y, true;
    case Fn::kMul:
      return a = x * y, true;
    case Fn::kDiv:
      return y != 0 && (a = x / y, true);
    case Fn::kMin:
      return a = std::min(x, y), true;
    case Fn::kMax:
      return a = std::max(x, y), true;
    default:
      return false;
  }
}

bool ordered(Fn fn, double x, double y) {
  return fn == Fn::kLt ? x < y : fn == Fn::kLe ? x <= y : fn == Fn::kGt ? x > y : x >= y;
}

}  // namespace

bool equal(const AttrValue& a, const AttrValue& b) {
  double x, y;
  if (as_number(a, x) && as_number(b, y)) return x == y;
  const auto is_empty_list = [](const AttrValue& v) {
    const Ints* i = std::get_if<Ints>(&v);
    const Floats* f = std::get_if<Floats>(&v);
    return (i && i->empty()) || (f && f->empty());
  };
  return a == b || (is_empty_list(a) && is_empty_list(b));
}

bool as_int(const AttrValue& v, int64_t& out) {
  if (const int64_t* i = std::get_if<int64_t>(&v)) return out = *i, true;
  return false;
}

bool as_number(const AttrValue& v, double& out) {
  if (const int64_t* i = std::get_if<int64_t>(&v)) return out = static_cast<double>(*i), true;
  if (const double* d = std::get_if<double>(&v)) return out = *d, true;
  return false;
}

bool combine(Fn fn, AttrValue& a, const AttrValue& b) {
  const Ints *list_a = std::get_if<Ints>(&a), *list_b = std::get_if<Ints>(&b);
  if (!list_a && !list_b) return combine_numbers(fn, a, b);
  if (list_a && list_b && list_a->size() != list_b->size()) return false;
  Ints result((list_a ? list_a : list_b)->size());
  for (size_t k = 0; k < result.size(); ++k) {
    AttrValue left = list_a ? AttrValue((*list_a)[k]) : a;
    if (!combine_numbers(fn, left, list_b ? AttrValue((*list_b)[k]) : b)) return false;
    if (!as_int(left, result[k])) return false;
  }
  return a = std::move(result), true;
}

bool compare(Fn fn, const AttrValue& a, const AttrValue& b, AttrValue& out) {
  if (fn == Fn::kEq) return out = int64_t{equal(a, b)}, true;
  // Lists are ordered if all their elements are.
  const Ints *list_a = std::get_if<Ints>(&a), *list_b = std::get_if<Ints>(&b);
  if (list_a) {
    for (size_t k = 0; k < list_a->size(); ++k) {
      if (list_b && list_b->size() != list_a->size()) return false;
      double y;
      if (!list_b && !as_number(b, y)) return false;
      if (list_b) y = static_cast<double>((*list_b)[k]);
      if (!ordered(fn, static_cast<double>((*list_a)[k]), y)) return out = int64_t{0}, true;
    }
    return out = int64_t{1}, true;
  }
  double x, y;
  if (!as_number(a, x) || !as_number(b, y)) return false;
  return out = int64_t{ordered(fn, x, y)}, true;
}

}  // namespace xflowrl::values
