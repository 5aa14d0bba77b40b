#include "rule/expression_parser.h"

#include <charconv>

namespace xflowrl {
namespace {

class ExpressionParser {
 public:
  explicit ExpressionParser(RuleScope& scope) : scope_(scope) {}

  Expr parse(const Sexpr& item) {
    Expr expr;
    if (item.kind == Sexpr::Kind::kString) {
      expr.kind = Expr::Kind::kConstant;
      expr.constant = scope_.text_of(item);
      return expr;
    }
    if (item.is_atom()) return parse_atom(item, scope_.text_of(item));
    if (!item.is_list() || item.children.empty() || !item.children[0].is_atom())
      scope_.fail(item, "expected (function argument...)");
    const std::string name = scope_.text_of(item.children[0]);
    const FunctionInfo* info = find_function(name);
    if (!info) scope_.fail(item.children[0], "there is no function \"" + name + "\"");
    const int count = static_cast<int>(item.children.size()) - 1;
    if (count < info->min_args || (info->max_args >= 0 && count > info->max_args))
      scope_.fail(item, "\"" + name + "\" does not take " + std::to_string(count) + " arguments");
    expr.kind = Expr::Kind::kCall;
    expr.fn = info->fn;
    for (size_t i = 1; i < item.children.size(); ++i) expr.args.push_back(parse(item.children[i]));
    fold(expr);
    return expr;
  }

  // A list of constants is a constant: patterns compare it while they match.
  static void fold(Expr& expr) {
    if (expr.fn != Fn::kList) return;
    Ints values;
    for (const Expr& arg : expr.args) {
      const int64_t* value =
          arg.kind == Expr::Kind::kConstant ? std::get_if<int64_t>(&arg.constant) : nullptr;
      if (!value) return;
      values.push_back(*value);
    }
    expr = Expr{};
    expr.kind = Expr::Kind::kConstant;
    expr.constant = std::move(values);
  }

  Expr parse_atom(const Sexpr& item, const std::string& text) {
    Expr expr;
    if (text.starts_with("@")) {
      const size_t dot = text.find('.');
      const auto& labels = scope_.in_target ? scope_.source_labels : scope_.labels;
      const auto found = labels.find(text.substr(0, dot));
      if (found == labels.end())
        scope_.fail(item, text.substr(0, dot) + " is no node of the source");
      expr.kind = Expr::Kind::kNodeOutput;
      expr.var = found->second;
      if (scope_.rule.source.nodes[static_cast<size_t>(expr.var)].is_each)
        scope_.fail(item, text + " is an `each`, which has no single output");
      if (dot != std::string::npos && !read_number(text.substr(dot + 1), expr.output))
        scope_.fail(item, "\"" + text + "\" names no output");
      return expr;
    }
    if (text.starts_with("?")) {
      const std::string name = is_sequence(text) ? sequence_name(text) : text;
      if (!scope_.find_variable(name)) {
        // In a source the pattern that binds it may stand further on.
        scope_.forward.emplace(name, item);
        scope_.variable(item, name, VarKind::kAttribute);
      }
      const Variable* known = scope_.find_variable(name);
      constexpr Expr::Kind kKinds[] = {Expr::Kind::kTensor, Expr::Kind::kTensor,
                                       Expr::Kind::kSequence, Expr::Kind::kAttribute};
      if (known->kind == VarKind::kAttributeSet)
        scope_.fail(item, name + " is a set of attributes, no value");
      expr.kind = kKinds[static_cast<int>(known->kind)];
      expr.var = known->index;
      if (scope_.in_target && known->kind == VarKind::kAttribute) scope_.used.insert(name);
      return expr;
    }
    expr.kind = Expr::Kind::kConstant;
    const char *begin = text.data(), *end = begin + text.size();
    int64_t whole = 0;
    if (const auto r = std::from_chars(begin, end, whole); r.ec == std::errc() && r.ptr == end) {
      expr.constant = whole;
      return expr;
    }
    double real = 0;
    if (const auto r = std::from_chars(begin, end, real); r.ec == std::errc() && r.ptr == end) {
      expr.constant = real;
      return expr;
    }
    scope_.fail(item,
                "\"" + text + "\" is neither number, \"string\", ?variable nor (function ...)");
  }

 private:
  RuleScope& scope_;
};

}  // namespace

Expr parse_expression(RuleScope& scope, const Sexpr& item) {
  return ExpressionParser(scope).parse(item);
}

}  // namespace xflowrl
