// S-expressions with positions, the surface of rule files.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace xflowrl {

struct Sexpr {
  enum class Kind { kAtom, kString, kList, kOptional };  // kOptional: [ ... ]
  Kind kind = Kind::kAtom;
  std::string text;             // of an atom or string
  std::vector<Sexpr> children;  // of a list or optional
  int line = 0, column = 0;     // 1-based
  size_t begin = 0, end = 0;    // in the source text

  bool is_atom() const { return kind == Kind::kAtom; }
  bool is_list() const { return kind == Kind::kList; }
  bool is_atom(std::string_view value) const { return is_atom() && text == value; }
};

// Throws std::invalid_argument "file:line:column: message".
std::vector<Sexpr> parse_sexprs(std::string_view source, const std::string& filename);

[[noreturn]] void fail_at(const std::string& filename, const Sexpr& where,
                          const std::string& message);

}  // namespace xflowrl
