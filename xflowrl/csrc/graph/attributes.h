// Attributes of a node: names to values, immutable and shared between nodes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "graph/hash.h"

namespace xflowrl {

using Ints = std::vector<int64_t>;
using Floats = std::vector<double>;
using Strings = std::vector<std::string>;

// A serialised ONNX AttributeProto (a tensor, a graph, ...) that the engine carries but never
// reads.
struct Blob {
  std::string bytes;
  bool operator==(const Blob&) const = default;
};

using AttrValue = std::variant<int64_t, double, std::string, Ints, Floats, Strings, Blob>;

std::string attr_text(const AttrValue& value);

class Attrs;
using AttrsPtr = std::shared_ptr<const Attrs>;

class Attrs {
 public:
  using Item = std::pair<std::string, AttrValue>;

  // Sorts by name; a name that occurs twice keeps its last value.
  static AttrsPtr make(std::vector<Item> items);
  static const AttrsPtr& empty();

  const AttrValue* find(std::string_view name) const;
  // Precondition of the typed getters: the attribute exists with that type.
  int64_t integer(std::string_view name) const;
  double real(std::string_view name) const;
  const std::string& string(std::string_view name) const;
  const Ints& ints(std::string_view name) const;

  const std::vector<Item>& items() const { return items_; }
  const Hash128& hash() const { return hash_; }
  bool operator==(const Attrs& other) const { return hash_ == other.hash_; }
  std::string text() const;  // "name=value ...", sorted by name

 private:
  std::vector<Item> items_;
  Hash128 hash_;
};

}  // namespace xflowrl
