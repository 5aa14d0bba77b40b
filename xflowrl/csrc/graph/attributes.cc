#include "graph/attributes.h"

#include <algorithm>
#include <charconv>
#include <stdexcept>

namespace xflowrl {
namespace {

std::string number(double value) {
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  std::string text(buffer, end);
  // A float must read back as a float.
  if (text.find_first_not_of("-0123456789") == std::string::npos) text += ".0";
  return text;
}

template <class List, class Print>
std::string list_text(const List& list, Print print) {
  std::string out = "[";
  for (size_t i = 0; i < list.size(); ++i) out += (i ? "," : "") + print(list[i]);
  return out + "]";
}

void hash_value(Hasher& hasher, const AttrValue& value) {
  hasher.add(static_cast<int>(value.index()));
  std::visit(
      [&](const auto& v) {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, Blob>) {
          hasher.add(std::string_view(v.bytes));
        } else if constexpr (std::is_same_v<T, std::string>) {
          hasher.add(std::string_view(v));
        } else if constexpr (std::is_arithmetic_v<T>) {
          hasher.add(v);
        } else {
          hasher.add(static_cast<uint64_t>(v.size()));
          for (const auto& element : v) {
            if constexpr (std::is_same_v<T, Strings>) {
              hasher.add(std::string_view(element));
            } else {
              hasher.add(element);
            }
          }
        }
      },
      value);
}

template <class T>
const T& get(const Attrs& attrs, std::string_view name) {
  const AttrValue* value = attrs.find(name);
  const T* typed = value ? std::get_if<T>(value) : nullptr;
  if (!typed) {
    throw std::invalid_argument("attribute \"" + std::string(name) + "\" is " +
                                (value ? "of another type: " + attr_text(*value) : "missing"));
  }
  return *typed;
}

}  // namespace

std::string attr_text(const AttrValue& value) {
  return std::visit(
      [](const auto& v) -> std::string {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, int64_t>) return std::to_string(v);
        if constexpr (std::is_same_v<T, double>) return number(v);
        if constexpr (std::is_same_v<T, std::string>) return "\"" + v + "\"";
        if constexpr (std::is_same_v<T, Ints>)
          return list_text(v, [](int64_t i) { return std::to_string(i); });
        if constexpr (std::is_same_v<T, Floats>) return list_text(v, number);
        if constexpr (std::is_same_v<T, Strings>)
          return list_text(v, [](const std::string& s) { return "\"" + s + "\""; });
        if constexpr (std::is_same_v<T, Blob>)
          return "<" + Hasher(0).add(std::string_view(v.bytes)).done().hex() + ">";
      },
      value);
}

AttrsPtr Attrs::make(std::vector<Item> items) {
  auto attrs = std::make_shared<Attrs>();
  attrs->items_.reserve(items.size());
  for (Item& item : items) {
    const auto place = std::ranges::lower_bound(attrs->items_, item.first, {}, &Item::first);
    if (place != attrs->items_.end() && place->first == item.first) {
      *place = std::move(item);
    } else {
      attrs->items_.insert(place, std::move(item));
    }
  }
  Hasher hasher(11);
  for (const Item& item : attrs->items_) {
    hasher.add(std::string_view(item.first));
    hash_value(hasher, item.second);
  }
  attrs->hash_ = hasher.done();
  return attrs;
}

const AttrsPtr& Attrs::empty() {
  static const AttrsPtr kEmpty = make({});
  return kEmpty;
}

const AttrValue* Attrs::find(std::string_view name) const {
  for (const Item& item : items_) {
    if (item.first == name) return &item.second;
  }
  return nullptr;
}

int64_t Attrs::integer(std::string_view name) const { return get<int64_t>(*this, name); }
double Attrs::real(std::string_view name) const { return get<double>(*this, name); }
const std::string& Attrs::string(std::string_view name) const {
  return get<std::string>(*this, name);
}
const Ints& Attrs::ints(std::string_view name) const { return get<Ints>(*this, name); }

std::string Attrs::text() const {
  std::string out;
  for (const Item& item : items_) {
    if (!out.empty()) out += ' ';
    out += item.first + "=" + attr_text(item.second);
  }
  return out;
}

}  // namespace xflowrl
