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

void bind_rules(nb::module_& m) {
  bind_pickled<Rule>(
      m, "Rule", "A source pattern, a target pattern and the guards under which they are equal.")
      .def_ro("name", &Rule::name, "Unique within a file.")
      .def_ro("text", &Rule::text, "The rule as it is written, :for values filled in.")
      .def_ro("filename", &Rule::filename, "Where it was read, as given to `RuleSet.parse`.")
      .def_ro("opset", &Rule::opset, "The first of ONNX that has what the rule writes; 0: any.")
      .def_ro("line", &Rule::line, "Where it begins in the file, from 1.")
      .def("__repr__", [](const Rule& r) { return "Rule(" + r.name + ")"; });
  bind_pickled<RuleSet>(
      m, "RuleSet",
      "Rules in order; a rule's index is its id. Immutable; pickled as the texts of its rules.")
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
          "All rules of several sets, in order.\n\n"
          "Raises ValueError if a name occurs twice, or the sets differ in being "
          "commutative or faithful.")
      .def_ro("name", &RuleSet::name, "As in the file's header, or as given to `join`.")
      .def_ro("commutative", &RuleSet::is_commutative,
              "Whether operands of Add, Mul and their like match, and hash, in any order.")
      .def_ro("faithful", &RuleSet::is_faithful,
              "Rules as TASO has them, some of them unsound; also applied to constants.")
      .def_prop_ro(
          "rules",
          [](const RuleSet& s) {
            nb::list rules;
            for (const auto& rule : s.rules) rules.append(nb::cast(rule));
            return rules;
          },
          nb::sig("def rules(self) -> list[Rule]"), "All rules, by index.")
      .def_prop_ro(
          "names",
          [](const RuleSet& s) {
            std::vector<std::string> names;
            for (const auto& rule : s.rules) names.push_back(rule->name);
            return names;
          },
          "Names of all rules, by index.")
      .def(
          "select",
          [](const RuleSet& s, const std::vector<std::string>& names) {
            auto selected = std::make_shared<RuleSet>(s);
            selected->rules.clear();
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
          nb::arg("names"),
          "The named rules alone, in the order given. Raises ValueError for a name it "
          "does not have.")
      .def(
          "for_opset",
          [](const std::shared_ptr<const RuleSet>& s, int opset) {
            auto bound = std::make_shared<RuleSet>(*s);
            bound->opset = opset;
            return std::shared_ptr<const RuleSet>(bound);
          },
          nb::arg("opset"),
          "The same rules with the same ids, for a model of an opset of ONNX: those that need a "
          "later one match nowhere.")
      .def("__len__", [](const RuleSet& s) { return s.rules.size(); });
}

}  // namespace xflowrl
