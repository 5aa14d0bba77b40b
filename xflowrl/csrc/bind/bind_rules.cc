#include <nanobind/nanobind.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <stdexcept>

#include "bind/bind.h"
#include "bind/bind_types.h"
#include "rule/rule_parser.h"

namespace nb = nanobind;

namespace xflowrl {
namespace {

std::string variable_name(const Rule& rule, int index, bool sequence) {
  for (const Variable& v : rule.variables) {
    const bool matches = sequence ? v.kind == VarKind::kSequence
                                  : v.kind == VarKind::kTensor || v.kind == VarKind::kOptional;
    if (matches && v.index == index) return v.name;
  }
  return "";
}

std::string attribute_name(const Rule& rule, int index, VarKind kind) {
  for (const Variable& v : rule.variables) {
    if (v.kind == kind && v.index == index) return v.name;
  }
  return "";
}

nb::dict describe_operand(const Rule& rule, const OperandPattern& o) {
  nb::dict d;
  constexpr const char* kKinds[] = {"tensor", "optional", "sequence", "node", "absent", "literal"};
  d["kind"] = kKinds[static_cast<int>(o.kind)];
  if (o.kind == OperandPattern::Kind::kTensor || o.kind == OperandPattern::Kind::kOptional ||
      o.kind == OperandPattern::Kind::kLiteral)
    d["var"] = variable_name(rule, o.var, false);
  if (o.kind == OperandPattern::Kind::kSequence) {
    d["var"] = variable_name(rule, o.var, true);
    d["min_length"] = o.min_length;
  }
  if (o.kind == OperandPattern::Kind::kNode) {
    d["node"] = o.node;
    d["all_outputs"] = o.all_outputs;
    if (o.output.attr_var >= 0) {
      d["output"] = attribute_name(rule, o.output.attr_var, VarKind::kAttribute);
    } else {
      d["output"] = o.output.number;
    }
  }
  return d;
}

nb::list describe_nodes(const Rule& rule, const Pattern& pattern) {
  nb::list nodes;
  for (const NodePattern& node : pattern.nodes) {
    nb::dict d;
    d["op_type"] = operator_info(node.op).name;
    d["label"] = node.label;
    d["is_each"] = node.is_each;
    nb::list operands;
    for (const OperandPattern& o : node.operands) operands.append(describe_operand(rule, o));
    d["operands"] = operands;
    nb::list attrs;
    for (const AttrPattern& a : node.attrs) {
      nb::dict item;
      item["name"] = a.name;
      constexpr const char* kKinds[] = {"bind", "constant", "expression"};
      item["kind"] = kKinds[static_cast<int>(a.kind)];
      if (a.kind == AttrPattern::Kind::kBind)
        item["var"] = attribute_name(rule, a.var, VarKind::kAttribute);
      if (a.kind == AttrPattern::Kind::kConstant) item["value"] = attr_to_python(a.value);
      attrs.append(item);
    }
    d["attributes"] = attrs;
    d["attribute_set"] = node.attr_set_var < 0
                             ? ""
                             : attribute_name(rule, node.attr_set_var, VarKind::kAttributeSet);
    nodes.append(d);
  }
  return nodes;
}

nb::list describe_tensors(const Rule& rule, const Pattern& pattern) {
  nb::list tensors;
  for (const TensorItem& item : pattern.tensors) {
    nb::dict d = describe_operand(rule, item.operand);
    d["is_range"] = item.is_range;
    tensors.append(d);
  }
  return tensors;
}

// The parsed rule as plain dicts and lists; nodes are listed operands first.
nb::dict describe(const Rule& rule) {
  nb::dict d;
  d["name"] = rule.name;
  nb::list variables;
  for (const Variable& v : rule.variables) {
    constexpr const char* kKinds[] = {"tensor", "optional", "sequence", "attribute",
                                      "attribute_set"};
    nb::dict item;
    item["name"] = v.name;
    item["kind"] = kKinds[static_cast<int>(v.kind)];
    variables.append(item);
  }
  d["variables"] = variables;
  for (const auto& [name, pattern] :
       {std::pair{"source", &rule.source}, std::pair{"target", &rule.target}}) {
    nb::dict side;
    side["nodes"] = describe_nodes(rule, *pattern);
    side["tensors"] = describe_tensors(rule, *pattern);
    d[name] = side;
  }
  nb::list guards;
  for (const Guard& guard : rule.guards) guards.append(guard.text);
  d["guards"] = guards;
  return d;
}

}  // namespace

void bind_rules(nb::module_& m) {
  bind_shared<Rule>(m, "Rule",
                    "A source pattern, a target pattern and the guards under which they are equal.")
      .def_ro("name", &Rule::name)
      .def_ro("text", &Rule::text, "The rule as it is written, :for values filled in.")
      .def_ro("filename", &Rule::filename)
      .def_ro("line", &Rule::line)
      .def("describe", &describe, "The parsed rule as plain dicts and lists.",
           nb::sig("def describe(self) -> dict[str, typing.Any]"))
      .def("__repr__", [](const Rule& r) { return "Rule(" + r.name + ")"; });
  bind_shared<RuleSet>(m, "RuleSet", "Rules in order; a rule's index is its id.")
      .def_static(
          "parse",
          [](const std::string& text, const std::string& filename) {
            return parse_rules(text, filename);
          },
          nb::arg("text"), nb::arg("filename") = "<rules>",
          "Reads rule text. Raises ValueError \"file:line:column: message\".")
      .def_static(
          "join",
          [](const std::vector<std::shared_ptr<const RuleSet>>& sets, const std::string& name) {
            return RuleSet::join(sets, name);
          },
          nb::arg("sets"), nb::arg("name") = "core",
          "All rules of several sets; they must agree on being commutative.")
      .def_ro("name", &RuleSet::name)
      .def_ro("commutative", &RuleSet::is_commutative)
      .def_ro("faithful", &RuleSet::is_faithful,
              "Rules as TASO has them, some of them unsound; also applied to constants.")
      .def_prop_ro(
          "rules",
          [](const RuleSet& s) {
            nb::list rules;
            for (const auto& rule : s.rules) rules.append(nb::cast(rule));
            return rules;
          },
          nb::sig("def rules(self) -> list[Rule]"))
      .def_prop_ro("names",
                   [](const RuleSet& s) {
                     std::vector<std::string> names;
                     for (const auto& rule : s.rules) names.push_back(rule->name);
                     return names;
                   })
      .def(
          "select",
          [](const RuleSet& s, const std::vector<std::string>& names) {
            auto selected =
                std::make_shared<RuleSet>(RuleSet{s.name, s.is_commutative, s.is_faithful, {}});
            for (const std::string& name : names) {
              const auto found = std::find_if(s.rules.begin(), s.rules.end(),
                                              [&](const auto& r) { return r->name == name; });
              if (found == s.rules.end())
                throw std::invalid_argument("rule set \"" + s.name + "\" has no rule \"" + name +
                                            "\"");
              selected->rules.push_back(*found);
            }
            return std::shared_ptr<const RuleSet>(selected);
          },
          nb::arg("names"), "The named rules alone, in the order given.")
      .def("__len__", [](const RuleSet& s) { return s.rules.size(); });
}

}  // namespace xflowrl
