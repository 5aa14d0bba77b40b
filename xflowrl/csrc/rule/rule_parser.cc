#include "rule/rule_parser.h"

#include "rule/expression_parser.h"
#include "rule/pattern_parser.h"
#include "rule/routes.h"

namespace xflowrl {
namespace {

std::string text_of_guard(const RuleScope& scope, const Sexpr& item) {
  if (item.is_atom()) return scope.text_of(item);
  if (item.kind == Sexpr::Kind::kString) return "\"" + item.text + "\"";
  std::string text = "(";
  for (size_t i = 0; i < item.children.size(); ++i)
    text += (i ? " " : "") + text_of_guard(scope, item.children[i]);
  return text + ")";
}

void parse_clauses(RuleScope& scope, const Sexpr& form, size_t i) {
  while (i < form.children.size()) {
    const Sexpr& keyword = form.children[i++];
    if (keyword.is_atom(":opset")) {
      if (i == form.children.size() ||
          !read_number(scope.text_of(form.children[i++]), scope.rule.opset))
        scope.fail(keyword, ":opset is written :opset N, the number of an opset");
      continue;
    }
    const bool is_if = keyword.is_atom(":if");
    if (!is_if && !keyword.is_atom(":drops"))
      scope.fail(keyword,
                 "unknown clause \"" + keyword.text + "\"; known are :if, :drops and :opset");
    for (; i < form.children.size() && !is_keyword(form.children[i]); ++i) {
      const Sexpr& item = form.children[i];
      if (is_if) {
        const std::set<std::string> used = scope.used;
        Guard guard{parse_expression(scope, item), text_of_guard(scope, item)};
        scope.used = used;  // being asked about is not being kept
        scope.rule.guards.push_back(std::move(guard));
      } else {
        const std::string name = scope.text_of(item);
        if (!scope.find_variable(name)) scope.fail(item, "the source does not bind " + name);
        scope.used.insert(name);
      }
    }
  }
}

void check_losses(const RuleScope& scope, const Sexpr& form) {
  for (const Variable& v : scope.rule.variables) {
    const bool is_tensor =
        v.kind == VarKind::kTensor || v.kind == VarKind::kOptional || v.kind == VarKind::kSequence;
    if (is_tensor && !scope.used.contains(v.name))
      scope.fail(form, "the target loses " + v.name + "; if that is meant, add :drops " + v.name);
  }
}

// `first_item`: where the source begins in the form.
Rule parse_rule(const Sexpr& form, std::string_view source, size_t first_item,
                const std::string& filename, const Substitution& substitution) {
  RuleScope scope(filename, substitution);
  Rule& rule = scope.rule;
  const auto& items = form.children;
  if (first_item >= items.size()) scope.fail(form, "the rule has no \"=>\"");
  rule.name = scope.text_of(items[1]);
  rule.filename = filename;
  rule.line = form.line;
  // Without the :for clauses, whose values are filled in.
  const size_t begin = items[first_item].begin;
  rule.text = "(rule " + rule.name + " " + scope.substitute(source.substr(begin, form.end - begin));

  size_t i = first_item;
  for (; i < items.size() && !items[i].is_atom("=>"); ++i) parse_tensor_item(scope, items[i]);
  if (i == items.size()) scope.fail(form, "the rule has no \"=>\"");
  if (rule.source.tensors.empty()) scope.fail(items[i], "the rule has no source");
  for (const auto& [name, where] : scope.forward) {
    if (!scope.bound_attributes.contains(name)) scope.fail(where, "no pattern binds " + name);
  }
  for (const NodePattern& node : rule.source.nodes) {
    if (node.is_each && node.operands[0].kind != OperandPattern::Kind::kSequence)
      scope.fail(form, "an `each` of a source takes a sequence variable");
  }
  scope.in_target = true;
  scope.source_labels = std::move(scope.labels);
  scope.labels.clear();
  for (++i; i < items.size() && !is_keyword(items[i]); ++i) parse_tensor_item(scope, items[i]);
  if (rule.target.tensors.empty()) scope.fail(items[i - 1], "the rule has no target");
  parse_clauses(scope, form, i);
  check_losses(scope, form);
  if (const char* error = plan_routes(rule)) scope.fail(form, error);
  return std::move(rule);
}

// The values of the :for clauses, one substitution a combination; `next` is moved behind them.
std::vector<Substitution> expansions(const Sexpr& form, size_t& next, const std::string& filename) {
  std::vector<Substitution> all{{}};
  while (next < form.children.size() && form.children[next].is_atom(":for")) {
    if (next + 2 >= form.children.size() || !form.children[next + 1].is_atom() ||
        !form.children[next + 2].is_list())
      fail_at(filename, form.children[next], ":for is written :for name (value ...)");
    const std::string key = "{" + form.children[next + 1].text + "}";
    std::vector<Substitution> longer;
    for (const Substitution& one : all) {
      for (const Sexpr& value : form.children[next + 2].children) {
        longer.push_back(one);
        longer.back()[key] = value.text;
      }
    }
    all = std::move(longer);
    next += 3;
  }
  return all;
}

}  // namespace

std::shared_ptr<const RuleSet> parse_rules(std::string_view text, const std::string& filename) {
  auto set = std::make_shared<RuleSet>();
  set->name = filename;
  std::map<std::string, int> lines;
  bool has_header = false;
  for (const Sexpr& form : parse_sexprs(text, filename)) {
    const bool is_form = form.is_list() && form.children.size() >= 2 && form.children[1].is_atom();
    if (is_form && form.children[0].is_atom("rules")) {
      if (has_header) fail_at(filename, form, "a file has one (rules ...) header");
      has_header = true;
      set->name = form.children[1].text;
      for (size_t i = 2; i < form.children.size(); ++i) {
        const Sexpr& option = form.children[i];
        if (!option.is_atom(":commutative") && !option.is_atom(":faithful"))
          fail_at(filename, option, "unknown option; known are :commutative and :faithful");
        (option.is_atom(":faithful") ? set->is_faithful : set->is_commutative) = true;
      }
      continue;
    }
    if (!is_form || !form.children[0].is_atom("rule"))
      fail_at(filename, form, "expected (rule NAME SOURCE => TARGET) or (rules NAME)");
    size_t next = 2;
    for (const Substitution& substitution : expansions(form, next, filename)) {
      auto rule = std::make_shared<Rule>(parse_rule(form, text, next, filename, substitution));
      rule->matches_constants = set->is_faithful;
      const auto [known, is_new] = lines.emplace(rule->name, form.line);
      if (!is_new)
        fail_at(filename, form,
                "rule \"" + rule->name + "\" is already defined in line " +
                    std::to_string(known->second));
      set->rules.push_back(std::move(rule));
    }
  }
  return set;
}

}  // namespace xflowrl
