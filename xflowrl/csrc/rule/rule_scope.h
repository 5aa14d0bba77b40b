// What the parts of a rule's parser share: names, labels and where the parser stands.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>

#include "rule/rule.h"
#include "rule/sexpr.h"

namespace xflowrl {

// Values of :for clauses, "{name}" to text.
using Substitution = std::map<std::string, std::string>;

struct RuleScope {
  const std::string& filename;
  const Substitution& substitution;
  Rule rule;
  bool in_target = false;
  std::map<std::string, int> labels;         // "@name" to node, of the side that is being parsed
  std::map<std::string, int> source_labels;  // the source's, while the target is being parsed
  std::set<std::string> used;                // variables that occur in the target
  std::set<std::string> bound_attributes;    // attribute variables that a source pattern binds
  std::map<std::string, Sexpr> forward;      // used before a pattern binds them

  RuleScope(const std::string& file, const Substitution& values)
      : filename(file), substitution(values) {}

  Pattern& side() { return in_target ? rule.target : rule.source; }
  [[noreturn]] void fail(const Sexpr& where, const std::string& message) const;
  std::string substitute(std::string_view text) const;
  std::string text_of(const Sexpr& atom) const { return substitute(atom.text); }
  const Variable* find_variable(const std::string& name) const;
  // The number of a variable within its storage; a source makes new ones.
  int variable(const Sexpr& where, const std::string& name, VarKind kind);
};

inline bool is_keyword(const Sexpr& item) {
  return item.is_atom() && item.text.size() > 1 && item.text[0] == ':';
}
// ?xs... (one or more tensors) and ?xs* (any number); the variable is ?xs.
bool is_sequence(const std::string& name);
std::string sequence_name(const std::string& name);
bool read_number(const std::string& text, int& value);

}  // namespace xflowrl
