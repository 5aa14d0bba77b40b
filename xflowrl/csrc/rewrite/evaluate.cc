#include "rewrite/evaluate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "rewrite/values.h"

namespace xflowrl {
namespace {

class Evaluator {
 public:
  Evaluator(const Graph& graph, const Binding& binding) : graph_(graph), binding_(binding) {}

  bool eval(const Expr& e, AttrValue& out) const {
    switch (e.kind) {
      case Expr::Kind::kConstant:
        return out = e.constant, true;
      case Expr::Kind::kAttribute:
        return out = binding_.attributes[at(e.var)], true;
      case Expr::Kind::kCall:
        return call(e, out);
      default:
        return false;
    }
  }

 private:
  static size_t at(int64_t i) { return static_cast<size_t>(i); }

  // The tensor that an argument speaks of; an absent one has node == kNoNode.
  TensorRef tensor(const Expr& e) const {
    if (e.kind == Expr::Kind::kTensor) return binding_.tensors[at(e.var)];
    if (e.kind == Expr::Kind::kNodeOutput) {
      const NodeId id = binding_.nodes[at(e.var)];
      const bool exists = id != kNoNode && at(e.output) < graph_.node(id).outputs.size();
      return exists ? TensorRef{id, e.output} : TensorRef{};
    }
    return {};
  }

  const TensorType* type(const Expr& e) const {
    const TensorRef t = tensor(e);
    return t.node == kNoNode ? nullptr : &graph_.type(t);
  }

  bool ints(const Expr& e, Ints& out) const {
    AttrValue v;
    if (!eval(e, v)) return false;
    if (Ints* list = std::get_if<Ints>(&v)) return out = std::move(*list), true;
    return false;
  }

  bool integer(const Expr& e, int64_t& out) const {
    AttrValue v;
    return eval(e, v) && values::as_int(v, out);
  }

  bool truth(const Expr& e, bool& out) const {
    AttrValue v;
    return eval(e, v) && (out = is_true(v), true);
  }

  bool arithmetic(const Expr& e, AttrValue& out) const {
    AttrValue first;
    if (!eval(e.args[0], first)) return false;
    if (e.args.size() == 1 && e.fn == Fn::kSub) {
      out = int64_t{0};
      return values::combine(Fn::kSub, out, first);
    }
    for (size_t i = 1; i < e.args.size(); ++i) {
      AttrValue second;
      if (!eval(e.args[i], second) || !values::combine(e.fn, first, second)) return false;
    }
    out = std::move(first);
    return true;
  }

  bool list(const Expr& e, AttrValue& out) const {
    Ints whole;
    Floats real;
    whole.reserve(e.args.size());
    real.reserve(e.args.size());
    for (const Expr& arg : e.args) {
      AttrValue v;
      double d;
      if (!eval(arg, v) || !values::as_number(v, d)) return false;
      real.push_back(d);
      if (const int64_t* i = std::get_if<int64_t>(&v)) whole.push_back(*i);
    }
    if (whole.size() == real.size()) return out = std::move(whole), true;
    return out = std::move(real), true;
  }

  bool cat(const Expr& e, AttrValue& out) const {
    Ints result;
    for (const Expr& arg : e.args) {
      Ints part;
      if (!ints(arg, part)) return false;
      result.insert(result.end(), part.begin(), part.end());
    }
    return out = std::move(result), true;
  }

  // Functions of a list and numbers.
  bool on_list(const Expr& e, AttrValue& out) const {
    Ints l;
    if (!ints(e.args[0], l)) return false;
    const auto size = static_cast<int64_t>(l.size());
    int64_t k = 0, v = 0;
    switch (e.fn) {
      case Fn::kLen:
        return out = size, true;
      case Fn::kSum:
      case Fn::kProd: {
        const bool is_sum = e.fn == Fn::kSum;
        int64_t total = is_sum ? 0 : 1;
        for (int64_t x : l) {
          if (is_sum ? __builtin_add_overflow(total, x, &total)
                     : __builtin_mul_overflow(total, x, &total))
            return false;
        }
        return out = total, true;
      }
      case Fn::kPermute: {
        Ints p, result;
        if (!ints(e.args[1], p)) return false;
        for (int64_t i : p) {
          if (i < 0 || i >= size) return false;
          result.push_back(l[at(i)]);
        }
        return out = std::move(result), true;
      }
      default:
        break;
    }
    if (!integer(e.args[1], k)) return false;
    switch (e.fn) {
      case Fn::kAll:
        return out = int64_t{std::all_of(l.begin(), l.end(), [&](int64_t x) { return x == k; })},
               true;
      case Fn::kIndex: {
        const auto found = std::find(l.begin(), l.end(), k);
        return found != l.end() && (out = static_cast<int64_t>(found - l.begin()), true);
      }
      case Fn::kTake:
        return k >= 0 && k <= size && (out = Ints(l.begin(), l.begin() + k), true);
      case Fn::kDrop:
        return k >= 0 && k <= size && (out = Ints(l.begin() + k, l.end()), true);
      case Fn::kNth:
        if (k < 0) k += size;
        return k >= 0 && k < size && (out = l[at(k)], true);
      case Fn::kPut:
        if (k < 0 || k >= size || !integer(e.args[2], v)) return false;
        l[at(k)] = v;
        return out = std::move(l), true;
      case Fn::kSublist:
        return integer(e.args[2], v) && k >= 0 && v >= k && v <= size &&
               (out = Ints(l.begin() + k, l.begin() + v), true);
      case Fn::kSplice: {
        Ints m;
        if (k < 0 || k >= size || !ints(e.args[2], m)) return false;
        l.erase(l.begin() + k);
        l.insert(l.begin() + k, m.begin(), m.end());
        return out = std::move(l), true;
      }
      default:
        return false;
    }
  }

  bool on_tensors(const Expr& e, AttrValue& out) const {
    const TensorType* a = type(e.args[0]);
    if (!a) return false;
    switch (e.fn) {
      case Fn::kRank:
        return out = static_cast<int64_t>(a->rank()), true;
      case Fn::kShape:
        return out = a->shape_vector(), true;
      case Fn::kSize:
        return out = a->num_elements(), true;
      case Fn::kFloat:
        return out = int64_t{is_float(a->dtype)}, true;
      case Fn::kValue: {
        const Node& node = graph_.node(tensor(e.args[0]).node);
        return node.literal && node.literal->size() == 1 && (out = (*node.literal)[0], true);
      }
      case Fn::kDim: {
        int64_t i;
        if (!integer(e.args[1], i)) return false;
        if (i < 0) i += a->rank();
        return i >= 0 && i < a->rank() && (out = a->dim(static_cast<int>(i)), true);
      }
      default:
        break;
    }
    const TensorType* b = type(e.args[1]);
    return b && (out = int64_t{std::ranges::equal(a->shape(), b->shape())}, true);
  }

  // The size of each tensor of a sequence along one axis.
  bool dims(const Expr& e, AttrValue& out) const {
    int64_t axis = 0;
    if (e.args[0].kind != Expr::Kind::kSequence || !integer(e.args[1], axis)) return false;
    Ints result;
    for (const TensorRef& t : binding_.sequences[at(e.args[0].var)]) {
      const TensorType& tt = graph_.type(t);
      const int64_t i = axis < 0 ? axis + tt.rank() : axis;
      if (i < 0 || i >= tt.rank()) return false;
      result.push_back(tt.dim(static_cast<int>(i)));
    }
    return out = std::move(result), true;
  }

  bool compare(const Expr& e, AttrValue& out) const {
    AttrValue a, b;
    return eval(e.args[0], a) && eval(e.args[1], b) && values::compare(e.fn, a, b, out);
  }

  // `and`, `or` and `if` leave alone what does not matter.
  bool logic(const Expr& e, AttrValue& out) const {
    bool value = false;
    switch (e.fn) {
      case Fn::kNot:
        return truth(e.args[0], value) && (out = int64_t{!value}, true);
      case Fn::kIf:
        return truth(e.args[0], value) && eval(e.args[value ? 1 : 2], out);
      default:
        for (const Expr& arg : e.args) {
          if (!truth(arg, value)) return false;
          if (value == (e.fn == Fn::kOr)) break;
        }
        return out = int64_t{value}, true;
    }
  }

  bool call(const Expr& e, AttrValue& out) const {
    switch (e.fn) {
      case Fn::kAdd:
      case Fn::kSub:
      case Fn::kMul:
      case Fn::kDiv:
      case Fn::kMod:
      case Fn::kMin:
      case Fn::kMax:
        return arithmetic(e, out);
      case Fn::kList:
        return list(e, out);
      case Fn::kCat:
        return cat(e, out);
      case Fn::kFill:
      case Fn::kIota: {
        int64_t n, value = 0;
        if (!integer(e.args[0], n) || n < 0 || n > 4096) return false;
        if (e.fn == Fn::kFill && !integer(e.args[1], value)) return false;
        Ints result(at(n), value);
        if (e.fn == Fn::kIota) std::iota(result.begin(), result.end(), 0);
        return out = std::move(result), true;
      }
      case Fn::kLen:
      case Fn::kNth:
      case Fn::kTake:
      case Fn::kDrop:
      case Fn::kSplice:
      case Fn::kPut:
      case Fn::kSum:
      case Fn::kProd:
      case Fn::kPermute:
      case Fn::kIndex:
      case Fn::kSublist:
      case Fn::kAll:
        return on_list(e, out);
      case Fn::kDim:
      case Fn::kRank:
      case Fn::kShape:
      case Fn::kSize:
      case Fn::kFloat:
      case Fn::kValue:
      case Fn::kSameShape:
        return on_tensors(e, out);
      case Fn::kDims:
        return dims(e, out);
      case Fn::kEq:
      case Fn::kLt:
      case Fn::kLe:
      case Fn::kGt:
      case Fn::kGe:
        return compare(e, out);
      case Fn::kAnd:
      case Fn::kOr:
      case Fn::kNot:
      case Fn::kIf:
        return logic(e, out);
    }
    return false;
  }

  const Graph& graph_;
  const Binding& binding_;
};

}  // namespace

bool is_true(const AttrValue& value) {
  const int64_t* i = std::get_if<int64_t>(&value);
  return i && *i != 0;
}

bool evaluate(const Expr& expr, const Graph& graph, const Binding& binding, AttrValue& result) {
  return Evaluator(graph, binding).eval(expr, result);
}

}  // namespace xflowrl
