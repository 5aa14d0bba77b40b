// From rule text to rules. The surface syntax is described in rules/README of the Python package.
#include <algorithm>
#include <charconv>
#include <limits>
#include <map>
#include <set>
#include <stdexcept>

#include "routes.h"
#include "rule.h"
#include "sexpr.h"

namespace xflowrl {
namespace {

using Substitution = std::map<std::string, std::string>;

class RuleParser {
 public:
  RuleParser(const std::string& filename, const Substitution& substitution)
      : filename_(filename), substitution_(substitution) {}

  Rule parse(const Sexpr& form, std::string_view source, size_t first_item) {
    rule_.name = text_of(form.children[1]);
    rule_.filename = filename_;
    rule_.line = form.line;
    rule_.text = substitute(source.substr(form.begin, form.end - form.begin));
    size_t i = first_item;
    side_ = &rule_.source;
    for (; i < form.children.size() && !form.children[i].is_atom("=>"); ++i) parse_item(form.children[i]);
    if (i == form.children.size()) fail(form, "the rule has no \"=>\"");
    if (rule_.source.tensors.empty()) fail(form.children[i], "the rule has no source");
    for (const auto& [name, where] : forward_) {
      if (!bound_attributes_.contains(name)) fail(where, "no pattern binds " + name);
    }
    for (const NodePattern& node : rule_.source.nodes) {
      if (node.is_each && node.operands[0].kind != Operand::Kind::kSequence)
        fail(form, "an `each` of a source takes a sequence variable");
    }
    in_target_ = true;
    labels_.clear();
    source_labels_ = std::move(all_labels_);
    side_ = &rule_.target;
    for (++i; i < form.children.size() && !is_keyword(form.children[i]); ++i) parse_item(form.children[i]);
    if (rule_.target.tensors.empty()) fail(form.children[i - 1], "the rule has no target");
    parse_clauses(form, i);
    check_losses(form);
    if (const char* error = plan_routes(rule_)) fail(form, error);
    return std::move(rule_);
  }

 private:
  [[noreturn]] void fail(const Sexpr& where, const std::string& message) const {
    const std::string rule = rule_.name.empty() ? "" : "rule \"" + rule_.name + "\": ";
    fail_at(filename_, where, rule + message);
  }

  std::string substitute(std::string_view text) const {
    std::string out(text);
    for (const auto& [from, to] : substitution_) {
      for (size_t at = out.find(from); at != std::string::npos; at = out.find(from, at + to.size()))
        out.replace(at, from.size(), to);
    }
    return out;
  }

  std::string text_of(const Sexpr& atom) const { return substitute(atom.text); }

  bool is_keyword(const Sexpr& item) const {
    return item.is_atom() && item.text.size() > 1 && item.text[0] == ':';
  }

  // --- variables -------------------------------------------------------------------------------

  const Variable* find_variable(const std::string& name) const {
    for (const Variable& v : rule_.variables) {
      if (v.name == name) return &v;
    }
    return nullptr;
  }

  int variable(const Sexpr& where, const std::string& name, VarKind kind) {
    if (name.size() < 2 || name[0] != '?') fail(where, "\"" + name + "\" is no variable; write ?name");
    if (const Variable* known = find_variable(name)) {
      if (known->kind != kind) fail(where, name + " is used for two kinds of things");
      if (in_target_) used_.insert(name);
      return known->index;
    }
    if (in_target_) fail(where, "target uses " + name + ", which the source does not bind");
    int* counts[] = {&rule_.num_tensors, &rule_.num_tensors, &rule_.num_sequences,
                     &rule_.num_attributes, &rule_.num_attribute_sets};
    const int index = (*counts[static_cast<int>(kind)])++;
    rule_.variables.push_back({name, kind, index});
    return index;
  }

  // ?xs... and ?xs* are sequences; at the first use of ?x the context decides between tensor and
  // optional, later uses follow.
  static bool is_sequence(const std::string& name) {
    return name.starts_with("?") && (name.ends_with("...") || name.ends_with("*"));
  }
  static std::string stem(const std::string& name) {
    return name.ends_with("...") ? name.substr(0, name.size() - 3) : name.substr(0, name.size() - 1);
  }

  // --- tensors ---------------------------------------------------------------------------------

  Operand parse_operand(const Sexpr& item) {
    Operand operand;
    if (item.kind == Sexpr::Kind::kString) fail(item, "a string is no tensor");
    if (item.kind == Sexpr::Kind::kOptional) {
      if (item.children.size() != 1 || !item.children[0].is_atom())
        fail(item, "an optional operand is written [?name]");
      operand.kind = Operand::Kind::kOptional;
      operand.var = variable(item, text_of(item.children[0]), VarKind::kOptional);
      return operand;
    }
    if (item.is_atom()) {
      const std::string text = text_of(item);
      if (text.starts_with("@")) return parse_reference(item, text);
      if (is_sequence(text)) {
        operand.kind = Operand::Kind::kSequence;
        operand.min_length = text.ends_with("*") ? 0 : 1;
        operand.var = variable(item, stem(text), VarKind::kSequence);
        return operand;
      }
      const Variable* known = find_variable(text);
      const bool is_optional = known && known->kind == VarKind::kOptional;
      operand.kind = is_optional ? Operand::Kind::kOptional : Operand::Kind::kTensor;
      operand.var = variable(item, text, is_optional ? VarKind::kOptional : VarKind::kTensor);
      return operand;
    }
    if (item.children.empty() || !item.children[0].is_atom()) fail(item, "expected (Operator operand...)");
    const std::string head = text_of(item.children[0]);
    if (head == "none") return operand;
    if (head == "scalar" || head == "literal") return parse_literal(item);
    if (head == "outs") {
      if (item.children.size() != 2) fail(item, "outs as an operand takes a node and no range");
      operand = parse_operand(item.children[1]);
      if (operand.kind != Operand::Kind::kNode) fail(item, "outs takes a node");
      operand.all_outputs = true;
      return operand;
    }
    operand.kind = Operand::Kind::kNode;
    operand.node = parse_node(item);
    return operand;
  }

  // @name, @name.1, @name.?k
  Operand parse_reference(const Sexpr& item, const std::string& text) {
    Operand operand;
    operand.kind = Operand::Kind::kNode;
    const size_t dot = text.find('.');
    const std::string label = text.substr(0, dot);
    const auto found = labels_.find(label);
    if (found == labels_.end()) fail(item, label + " is not defined before this place");
    operand.node = found->second;
    if (dot == std::string::npos) return operand;
    const std::string index = text.substr(dot + 1);
    if (index.starts_with("?")) {
      operand.output.attr_var = variable(item, index, VarKind::kAttribute);
      bound_attributes_.insert(index);
    } else if (!read_number(index, operand.output.number)) {
      fail(item, "\"" + index + "\" is no output number");
    }
    return operand;
  }

  Operand parse_literal(const Sexpr& item) {
    if (!in_target_) fail(item, "a literal may only stand in a target");
    if (item.children.size() != 3) fail(item, "a literal is written (scalar VALUE ?like)");
    Operand operand;
    operand.kind = Operand::Kind::kLiteral;
    operand.value = parse_expr(item.children[1]);
    const Operand like = parse_operand(item.children[2]);
    if (like.kind != Operand::Kind::kTensor) fail(item.children[2], "expected a tensor variable");
    operand.var = like.var;
    return operand;
  }

  int parse_node(const Sexpr& item) {
    NodePattern node;
    size_t next = 1;
    if (item.children[0].is_atom("each")) {
      node.is_each = true;
      if (item.children.size() < 3 || !item.children[1].is_atom())
        fail(item, "each is written (each Operator ?xs... attributes)");
      next = 2;
    }
    std::string head = text_of(item.children[next - 1]);
    const size_t at = head.find('@');
    if (at != std::string::npos) {
      node.label = head.substr(at);
      head.resize(at);
      if (all_labels_.contains(node.label)) fail(item, node.label + " is defined twice");
    }
    node.op = find_operator(head);
    if (node.op < kFirstOperator || !operator_info(node.op).infer)
      fail(item.children[next - 1], "rules cannot speak of operator \"" + head + "\"");
    for (; next < item.children.size() && !is_keyword(item.children[next]); ++next)
      node.operands.push_back(parse_operand(item.children[next]));
    check_operands(item, node);
    for (; next < item.children.size(); next += 2) {
      if (!is_keyword(item.children[next])) fail(item.children[next], "expected :attribute value");
      if (next + 1 == item.children.size()) fail(item.children[next], "this attribute has no value");
      parse_attribute(item.children[next], item.children[next + 1], node);
    }
    const int index = static_cast<int>(side_->nodes.size());
    if (!node.label.empty()) labels_[node.label] = all_labels_[node.label] = index;
    side_->nodes.push_back(std::move(node));
    return index;
  }

  void check_operands(const Sexpr& item, const NodePattern& node) const {
    const OperatorInfo& info = operator_info(node.op);
    int fewest = 0, most = 0;
    bool open = false;
    for (const Operand& o : node.operands) {
      const bool many = o.kind == Operand::Kind::kSequence || o.all_outputs ||
                        (o.kind == Operand::Kind::kNode && side_->nodes[at(o.node)].is_each);
      open |= many;
      fewest += many ? 0 : o.kind == Operand::Kind::kOptional ? 0 : 1;
      most += 1;
    }
    if (node.is_each) {
      if (node.operands.size() != 1 || !open) fail(item, "each takes one sequence of tensors");
      return;
    }
    const bool variadic = info.max_inputs < 0;
    if (open && !variadic) fail(item, info.name + " does not take a sequence of operands");
    if ((!open && most < info.min_inputs) || (!variadic && most > info.max_inputs))
      fail(item, info.name + " takes " + std::to_string(info.min_inputs) +
                     (variadic ? " or more" : info.max_inputs > info.min_inputs
                                                  ? " to " + std::to_string(info.max_inputs)
                                                  : "") +
                     " operands, not " + std::to_string(most));
  }

  void parse_attribute(const Sexpr& key, const Sexpr& value, NodePattern& node) {
    const std::string name = text_of(key).substr(1);
    const std::string text = value.is_atom() ? text_of(value) : "";
    if (name == "attrs") {
      node.attr_set_var = variable(value, text, VarKind::kAttributeSet);
      return;
    }
    const auto& specs = operator_info(node.op).attributes;
    if (std::none_of(specs.begin(), specs.end(), [&](const AttrSpec& s) { return s.name == name; }))
      fail(key, operator_info(node.op).name + " has no attribute \"" + name + "\"");
    AttrPattern pattern;
    pattern.name = name;
    if (!in_target_ && text.starts_with("?")) {
      pattern.kind = AttrPattern::Kind::kBind;
      pattern.var = variable(value, text, VarKind::kAttribute);
      bound_attributes_.insert(text);
    } else {
      pattern.expr = parse_expr(value);
      const bool constant = pattern.expr.kind == Expr::Kind::kConstant;
      pattern.kind = constant && !in_target_ ? AttrPattern::Kind::kConstant : AttrPattern::Kind::kExpression;
      if (constant) pattern.value = pattern.expr.constant;
    }
    node.attrs.push_back(std::move(pattern));
  }

  void parse_item(const Sexpr& item) {
    TensorItem tensor;
    if (item.is_list() && !item.children.empty() && item.children[0].is_atom("outs")) {
      if (item.children.size() < 2 || item.children.size() > 4)
        fail(item, "outs is written (outs NODE [from [to]])");
      tensor.operand = parse_operand(item.children[1]);
      tensor.is_range = true;
      if (tensor.operand.kind != Operand::Kind::kNode) fail(item, "outs takes a node");
      if (item.children.size() > 2) tensor.from = parse_expr(item.children[2]);
      if (item.children.size() > 3) tensor.to = parse_expr(item.children[3]);
    } else {
      tensor.operand = parse_operand(item);
      using Kind = Operand::Kind;
      const Kind kind = tensor.operand.kind;
      if (kind == Kind::kAbsent || kind == Kind::kOptional || (!in_target_ && kind != Kind::kNode))
        fail(item, in_target_ ? "a target is a tensor" : "a source is an operator's output");
    }
    side_->tensors.push_back(std::move(tensor));
  }

  // --- expressions -----------------------------------------------------------------------------

  static bool read_number(const std::string& text, int& value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size();
  }

  Expr parse_expr(const Sexpr& item) {
    Expr expr;
    if (item.kind == Sexpr::Kind::kString) {
      expr.kind = Expr::Kind::kConstant;
      expr.constant = text_of(item);
      return expr;
    }
    if (item.is_atom()) return parse_atom(item, text_of(item));
    if (!item.is_list() || item.children.empty() || !item.children[0].is_atom())
      fail(item, "expected (function argument...)");
    const std::string name = text_of(item.children[0]);
    const FunctionInfo* info = find_function(name);
    if (!info) fail(item.children[0], "there is no function \"" + name + "\"");
    const int count = static_cast<int>(item.children.size()) - 1;
    if (count < info->min_args || (info->max_args >= 0 && count > info->max_args))
      fail(item, "\"" + name + "\" does not take " + std::to_string(count) + " arguments");
    expr.kind = Expr::Kind::kCall;
    expr.fn = info->fn;
    for (size_t i = 1; i < item.children.size(); ++i) expr.args.push_back(parse_expr(item.children[i]));
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
      const auto& labels = in_target_ ? source_labels_ : all_labels_;
      const auto found = labels.find(text.substr(0, dot));
      if (found == labels.end()) fail(item, text.substr(0, dot) + " is no node of the source");
      expr.kind = Expr::Kind::kNodeOutput;
      expr.var = found->second;
      if (dot != std::string::npos && !read_number(text.substr(dot + 1), expr.output))
        fail(item, "\"" + text + "\" names no output");
      return expr;
    }
    if (text.starts_with("?")) {
      const std::string name = is_sequence(text) ? stem(text) : text;
      if (!find_variable(name)) {
        // In a source the pattern that binds it may stand further on.
        forward_.emplace(name, item);
        variable(item, name, VarKind::kAttribute);
      }
      const Variable* known = find_variable(name);
      constexpr Expr::Kind kKinds[] = {Expr::Kind::kTensor, Expr::Kind::kTensor, Expr::Kind::kSequence,
                                       Expr::Kind::kAttribute};
      if (known->kind == VarKind::kAttributeSet) fail(item, name + " is a set of attributes, no value");
      expr.kind = kKinds[static_cast<int>(known->kind)];
      expr.var = known->index;
      if (in_target_ && known->kind == VarKind::kAttribute) used_.insert(name);
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
    fail(item, "\"" + text + "\" is neither number, \"string\", ?variable nor (function ...)");
  }

  // --- the rule as a whole ---------------------------------------------------------------------

  void parse_clauses(const Sexpr& form, size_t i) {
    while (i < form.children.size()) {
      const Sexpr& keyword = form.children[i++];
      const bool is_if = keyword.is_atom(":if");
      if (!is_if && !keyword.is_atom(":drops"))
        fail(keyword, "unknown clause \"" + keyword.text + "\"; known are :if and :drops");
      for (; i < form.children.size() && !is_keyword(form.children[i]); ++i) {
        const Sexpr& item = form.children[i];
        if (is_if) {
          const std::set<std::string> used = used_;
          Guard guard{parse_expr(item), text_of_guard(item)};
          used_ = used;  // being asked about is not being kept
          rule_.guards.push_back(std::move(guard));
        } else {
          const std::string name = text_of(item);
          if (!find_variable(name)) fail(item, "the source does not bind " + name);
          used_.insert(name);
        }
      }
    }
  }

  std::string text_of_guard(const Sexpr& item) const {
    if (item.is_atom()) return text_of(item);
    if (item.kind == Sexpr::Kind::kString) return "\"" + item.text + "\"";
    std::string text = "(";
    for (size_t i = 0; i < item.children.size(); ++i)
      text += (i ? " " : "") + text_of_guard(item.children[i]);
    return text + ")";
  }

  void check_losses(const Sexpr& form) const {
    for (const Variable& v : rule_.variables) {
      const bool is_tensor = v.kind == VarKind::kTensor || v.kind == VarKind::kOptional ||
                             v.kind == VarKind::kSequence;
      if (is_tensor && !used_.contains(v.name))
        fail(form, "the target loses " + v.name + "; if that is meant, add :drops " + v.name);
    }
  }

  static size_t at(int i) { return static_cast<size_t>(i); }

  const std::string& filename_;
  const Substitution& substitution_;
  Rule rule_;
  Pattern* side_ = nullptr;
  bool in_target_ = false;
  std::map<std::string, int> labels_, all_labels_, source_labels_;
  std::set<std::string> used_;              // variables that occur in the target
  std::set<std::string> bound_attributes_;  // attribute variables that a source pattern binds
  std::map<std::string, Sexpr> forward_;    // used before a pattern binds them
};

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

std::shared_ptr<const RuleSet> RuleSet::parse(std::string_view text, const std::string& filename) {
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
        if (!form.children[i].is_atom(":commutative"))
          fail_at(filename, form.children[i], "unknown option; known is :commutative");
        set->is_commutative = true;
      }
      continue;
    }
    if (!is_form || !form.children[0].is_atom("rule"))
      fail_at(filename, form, "expected (rule NAME SOURCE => TARGET) or (rules NAME)");
    size_t next = 2;
    for (const Substitution& substitution : expansions(form, next, filename)) {
      auto rule = std::make_shared<Rule>(RuleParser(filename, substitution).parse(form, text, next));
      const auto [known, is_new] = lines.emplace(rule->name, form.line);
      if (!is_new)
        fail_at(filename, form, "rule \"" + rule->name + "\" is already defined in line " +
                                    std::to_string(known->second));
      set->rules.push_back(std::move(rule));
    }
  }
  return set;
}

std::shared_ptr<const RuleSet> RuleSet::join(const std::vector<std::shared_ptr<const RuleSet>>& sets,
                                             const std::string& name) {
  auto joined = std::make_shared<RuleSet>();
  joined->name = name;
  std::map<std::string, std::string> files;
  for (const auto& set : sets) {
    if (set->is_commutative != sets[0]->is_commutative)
      throw std::invalid_argument("rule sets \"" + sets[0]->name + "\" and \"" + set->name +
                                  "\" differ in being :commutative");
    for (const auto& rule : set->rules) {
      const auto [known, is_new] = files.emplace(rule->name, rule->filename);
      if (!is_new)
        throw std::invalid_argument("rule \"" + rule->name + "\" is defined in " + known->second +
                                    " and in " + rule->filename);
      joined->rules.push_back(rule);
    }
    joined->is_commutative = set->is_commutative;
  }
  return joined;
}

}  // namespace xflowrl
