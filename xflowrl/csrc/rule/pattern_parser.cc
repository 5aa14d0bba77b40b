#include "rule/pattern_parser.h"

#include <algorithm>

#include "rule/expression_parser.h"

namespace xflowrl {
namespace {

size_t at(int i) { return static_cast<size_t>(i); }

class PatternParser {
 public:
  explicit PatternParser(RuleScope& scope) : scope_(scope) {}

  void parse_item(const Sexpr& item) {
    TensorItem tensor;
    if (item.is_list() && !item.children.empty() && item.children[0].is_atom("outs")) {
      if (item.children.size() < 2 || item.children.size() > 4)
        scope_.fail(item, "outs is written (outs NODE [from [to]])");
      tensor.operand = parse_operand(item.children[1]);
      tensor.is_range = true;
      if (tensor.operand.kind != OperandPattern::Kind::kNode)
        scope_.fail(item, "outs takes a node");
      if (item.children.size() > 2) tensor.from = parse_expression(scope_, item.children[2]);
      if (item.children.size() > 3) tensor.to = parse_expression(scope_, item.children[3]);
    } else {
      tensor.operand = parse_operand(item);
      using Kind = OperandPattern::Kind;
      const Kind kind = tensor.operand.kind;
      if (kind == Kind::kAbsent || kind == Kind::kOptional ||
          (!scope_.in_target && kind != Kind::kNode))
        scope_.fail(item,
                    scope_.in_target ? "a target is a tensor" : "a source is an operator's output");
    }
    scope_.side().tensors.push_back(std::move(tensor));
  }

 private:
  OperandPattern parse_operand(const Sexpr& item) {
    OperandPattern operand;
    if (item.kind == Sexpr::Kind::kString) scope_.fail(item, "a string is no tensor");
    if (item.kind == Sexpr::Kind::kOptional) {
      if (item.children.size() != 1 || !item.children[0].is_atom())
        scope_.fail(item, "an optional operand is written [?name]");
      operand.kind = OperandPattern::Kind::kOptional;
      operand.var = scope_.variable(item, scope_.text_of(item.children[0]), VarKind::kOptional);
      return operand;
    }
    if (item.is_atom()) {
      const std::string text = scope_.text_of(item);
      if (text.starts_with("@")) return parse_reference(item, text);
      if (is_sequence(text)) {
        operand.kind = OperandPattern::Kind::kSequence;
        operand.min_length = text.ends_with("*") ? 0 : 1;
        operand.var = scope_.variable(item, sequence_name(text), VarKind::kSequence);
        return operand;
      }
      const Variable* known = scope_.find_variable(text);
      const bool is_optional = known && known->kind == VarKind::kOptional;
      operand.kind = is_optional ? OperandPattern::Kind::kOptional : OperandPattern::Kind::kTensor;
      operand.var =
          scope_.variable(item, text, is_optional ? VarKind::kOptional : VarKind::kTensor);
      return operand;
    }
    if (item.children.empty() || !item.children[0].is_atom())
      scope_.fail(item, "expected (Operator operand...)");
    const std::string head = scope_.text_of(item.children[0]);
    if (head == "none") return operand;
    if (head == "scalar" || head == "literal") return parse_literal(item);
    if (head == "outs") {
      if (item.children.size() != 2)
        scope_.fail(item, "outs as an operand takes a node and no range");
      operand = parse_operand(item.children[1]);
      if (operand.kind != OperandPattern::Kind::kNode) scope_.fail(item, "outs takes a node");
      operand.all_outputs = true;
      return operand;
    }
    operand.kind = OperandPattern::Kind::kNode;
    operand.node = parse_node(item);
    return operand;
  }

  // @name, @name.1, @name.?k
  OperandPattern parse_reference(const Sexpr& item, const std::string& text) {
    OperandPattern operand;
    operand.kind = OperandPattern::Kind::kNode;
    const size_t dot = text.find('.');
    const std::string label = text.substr(0, dot);
    const auto found = scope_.labels.find(label);
    if (found == scope_.labels.end())
      scope_.fail(item, label + " is not defined before this place");
    operand.node = found->second;
    if (scope_.side().nodes[at(operand.node)].is_each)
      scope_.fail(item, label + " is an `each`, which has no single output");
    if (dot == std::string::npos) return operand;
    const std::string index = text.substr(dot + 1);
    if (index.starts_with("?")) {
      operand.output.attr_var = scope_.variable(item, index, VarKind::kAttribute);
      if (depth_ > 0) {
        scope_.bound_attributes.insert(index);
      } else if (!scope_.in_target) {
        scope_.forward.emplace(index, item);
      }
    } else if (!read_number(index, operand.output.number)) {
      scope_.fail(item, "\"" + index + "\" is no output number");
    }
    return operand;
  }

  OperandPattern parse_literal(const Sexpr& item) {
    if (!scope_.in_target) scope_.fail(item, "a literal may only stand in a target");
    if (item.children.size() != 3) scope_.fail(item, "a literal is written (scalar VALUE ?like)");
    OperandPattern operand;
    operand.kind = OperandPattern::Kind::kLiteral;
    operand.value = parse_expression(scope_, item.children[1]);
    const OperandPattern like = parse_operand(item.children[2]);
    if (like.kind != OperandPattern::Kind::kTensor)
      scope_.fail(item.children[2], "expected a tensor variable");
    operand.var = like.var;
    return operand;
  }

  int parse_node(const Sexpr& item) {
    NodePattern node;
    size_t next = 1;
    if (item.children[0].is_atom("each")) {
      node.is_each = true;
      if (item.children.size() < 3 || !item.children[1].is_atom())
        scope_.fail(item, "each is written (each Operator ?xs... attributes)");
      next = 2;
    }
    std::string head = scope_.text_of(item.children[next - 1]);
    const size_t at = head.find('@');
    if (at != std::string::npos) {
      node.label = head.substr(at);
      head.resize(at);
      if (scope_.labels.contains(node.label)) scope_.fail(item, node.label + " is defined twice");
    }
    node.op = find_operator(head);
    if (node.op < kFirstOperator || !operator_info(node.op).infer)
      scope_.fail(item.children[next - 1], "rules cannot speak of operator \"" + head + "\"");
    ++depth_;
    for (; next < item.children.size() && !is_keyword(item.children[next]); ++next)
      node.operands.push_back(parse_operand(item.children[next]));
    --depth_;
    check_operands(item, node);
    for (; next < item.children.size(); next += 2) {
      if (!is_keyword(item.children[next]))
        scope_.fail(item.children[next], "expected :attribute value");
      if (next + 1 == item.children.size())
        scope_.fail(item.children[next], "this attribute has no value");
      parse_attribute(item.children[next], item.children[next + 1], node);
    }
    const int index = static_cast<int>(scope_.side().nodes.size());
    if (!node.label.empty()) scope_.labels[node.label] = scope_.labels[node.label] = index;
    scope_.side().nodes.push_back(std::move(node));
    return index;
  }

  void check_operands(const Sexpr& item, const NodePattern& node) const {
    const OperatorInfo& info = operator_info(node.op);
    int fewest = 0, most = 0;
    bool open = false;
    for (const OperandPattern& o : node.operands) {
      const bool many =
          o.kind == OperandPattern::Kind::kSequence || o.all_outputs ||
          (o.kind == OperandPattern::Kind::kNode && scope_.side().nodes[at(o.node)].is_each);
      open |= many;
      fewest += many ? 0 : o.kind == OperandPattern::Kind::kOptional ? 0 : 1;
      most += 1;
    }
    if (node.is_each) {
      if (node.operands.size() != 1 || !open)
        scope_.fail(item, "each takes one sequence of tensors");
      return;
    }
    const bool variadic = info.max_inputs < 0;
    if (open && !variadic) scope_.fail(item, info.name + " does not take a sequence of operands");
    if ((!open && most < info.min_inputs) || (!variadic && most > info.max_inputs))
      scope_.fail(
          item, info.name + " takes " + std::to_string(info.min_inputs) +
                    (variadic                            ? " or more"
                     : info.max_inputs > info.min_inputs ? " to " + std::to_string(info.max_inputs)
                                                         : "") +
                    " operands, not " + std::to_string(most));
  }

  void parse_attribute(const Sexpr& key, const Sexpr& value, NodePattern& node) {
    const std::string name = scope_.text_of(key).substr(1);
    const std::string text = value.is_atom() ? scope_.text_of(value) : "";
    if (name == "attrs") {
      node.attr_set_var = scope_.variable(value, text, VarKind::kAttributeSet);
      return;
    }
    const auto& specs = operator_info(node.op).attributes;
    if (std::none_of(specs.begin(), specs.end(), [&](const AttrSpec& s) { return s.name == name; }))
      scope_.fail(key, operator_info(node.op).name + " has no attribute \"" + name + "\"");
    AttrPattern pattern;
    pattern.name = name;
    if (!scope_.in_target && text.starts_with("?")) {
      pattern.kind = AttrPattern::Kind::kBind;
      pattern.var = scope_.variable(value, text, VarKind::kAttribute);
      scope_.bound_attributes.insert(text);
    } else {
      pattern.expr = parse_expression(scope_, value);
      const bool constant = pattern.expr.kind == Expr::Kind::kConstant;
      pattern.kind = constant && !scope_.in_target ? AttrPattern::Kind::kConstant
                                                   : AttrPattern::Kind::kExpression;
      if (constant) pattern.value = pattern.expr.constant;
    }
    node.attrs.push_back(std::move(pattern));
  }

  RuleScope& scope_;
  int depth_ = 0;  // operators around the operand that is being parsed
};

}  // namespace

void parse_tensor_item(RuleScope& scope, const Sexpr& item) {
  PatternParser(scope).parse_item(item);
}

}  // namespace xflowrl
