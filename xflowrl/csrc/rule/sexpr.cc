#include "rule/sexpr.h"

#include <cctype>
#include <stdexcept>

namespace xflowrl {
namespace {

constexpr int kMaxDepth = 200;

class Reader {
 public:
  Reader(std::string_view source, const std::string& filename)
      : source_(source), filename_(filename) {}

  std::vector<Sexpr> read_all() {
    const std::size_t nul = source_.find('\0');
    if (nul != std::string_view::npos) {
      while (position_ < nul) advance();
      fail_at(filename_, start(Sexpr::Kind::kAtom), "a zero byte: this is no text");
    }
    std::vector<Sexpr> items;
    for (skip(); position_ < source_.size(); skip()) items.push_back(read(0));
    return items;
  }

 private:
  char peek() const { return position_ < source_.size() ? source_[position_] : '\0'; }

  void advance() {
    if (source_[position_++] == '\n') {
      ++line_;
      column_ = 1;
    } else {
      ++column_;
    }
  }

  void skip() {
    while (position_ < source_.size()) {
      if (peek() == ';') {
        while (position_ < source_.size() && peek() != '\n') advance();
      } else if (std::isspace(static_cast<unsigned char>(peek()))) {
        advance();
      } else {
        return;
      }
    }
  }

  Sexpr start(Sexpr::Kind kind) const {
    Sexpr item;
    item.kind = kind;
    item.line = line_;
    item.column = column_;
    item.begin = position_;
    return item;
  }

  Sexpr read(int depth) {
    const char c = peek();
    if (c == '(' || c == '[') return read_list(depth);
    if (c == '"') return read_string();
    Sexpr atom = start(Sexpr::Kind::kAtom);
    if (c == ')' || c == ']') fail_at(filename_, atom, std::string("unexpected '") + c + "'");
    while (position_ < source_.size() && !std::isspace(static_cast<unsigned char>(peek())) &&
           std::string_view("()[]\";").find(peek()) == std::string_view::npos) {
      atom.text += peek();
      advance();
    }
    atom.end = position_;
    return atom;
  }

  Sexpr read_list(int depth) {
    const bool optional = peek() == '[';
    Sexpr list = start(optional ? Sexpr::Kind::kOptional : Sexpr::Kind::kList);
    if (depth > kMaxDepth) fail_at(filename_, list, "parentheses are nested too deeply");
    advance();
    for (skip(); peek() != (optional ? ']' : ')'); skip()) {
      if (position_ >= source_.size())
        fail_at(filename_, list,
                std::string("this '") + (optional ? '[' : '(') + "' is never closed");
      list.children.push_back(read(depth + 1));
    }
    advance();
    list.end = position_;
    return list;
  }

  Sexpr read_string() {
    Sexpr text = start(Sexpr::Kind::kString);
    for (advance(); peek() != '"'; advance()) {
      if (position_ >= source_.size() || peek() == '\n')
        fail_at(filename_, text, "this string is never closed");
      text.text += peek();
    }
    advance();
    text.end = position_;
    return text;
  }

  std::string_view source_;
  const std::string& filename_;
  size_t position_ = 0;
  int line_ = 1, column_ = 1;
};

}  // namespace

void fail_at(const std::string& filename, const Sexpr& where, const std::string& message) {
  throw std::invalid_argument(filename + ":" + std::to_string(where.line) + ":" +
                              std::to_string(where.column) + ": " + message);
}

std::vector<Sexpr> parse_sexprs(std::string_view source, const std::string& filename) {
  return Reader(source, filename).read_all();
}

}  // namespace xflowrl
