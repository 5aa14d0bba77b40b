#include "rule/rule_scope.h"

#include <charconv>

namespace xflowrl {

void RuleScope::fail(const Sexpr& where, const std::string& message) const {
  const std::string prefix = rule.name.empty() ? "" : "rule \"" + rule.name + "\": ";
  fail_at(filename, where, prefix + message);
}

std::string RuleScope::substitute(std::string_view text) const {
  std::string out(text);
  for (const auto& [from, to] : substitution) {
    for (size_t at = out.find(from); at != std::string::npos; at = out.find(from, at + to.size()))
      out.replace(at, from.size(), to);
  }
  return out;
}

const Variable* RuleScope::find_variable(const std::string& name) const {
  for (const Variable& v : rule.variables) {
    if (v.name == name) return &v;
  }
  return nullptr;
}

int RuleScope::variable(const Sexpr& where, const std::string& name, VarKind kind) {
  if (name.size() < 2 || name[0] != '?')
    fail(where, "\"" + name + "\" is no variable; write ?name");
  if (const Variable* known = find_variable(name)) {
    if (known->kind != kind) fail(where, name + " is used for two kinds of things");
    if (in_target) used.insert(name);
    return known->index;
  }
  if (in_target) fail(where, "target uses " + name + ", which the source does not bind");
  int* counts[] = {&rule.num_tensors, &rule.num_tensors, &rule.num_sequences, &rule.num_attributes,
                   &rule.num_attribute_sets};
  const int index = (*counts[static_cast<int>(kind)])++;
  rule.variables.push_back({name, kind, index});
  return index;
}

bool is_sequence(const std::string& name) {
  return name.starts_with("?") && (name.ends_with("...") || name.ends_with("*"));
}

std::string sequence_name(const std::string& name) {
  return name.substr(0, name.size() - (name.ends_with("*") ? 1 : 3));
}

bool read_number(const std::string& text, int& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value >= 0;
}

}  // namespace xflowrl
