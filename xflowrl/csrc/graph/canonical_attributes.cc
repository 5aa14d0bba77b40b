#include "graph/canonical_attributes.h"

#include <algorithm>
#include <stdexcept>

namespace xflowrl {

AttrsPtr canonical_attributes(OpIndex op, std::vector<Attrs::Item> items) {
  const OperatorInfo& info = operator_info(op);
  const auto is_known = [&](const Attrs::Item& item) {
    return std::any_of(info.attributes.begin(), info.attributes.end(),
                       [&](const AttrSpec& spec) { return spec.name == item.first; });
  };
  for (const Attrs::Item& item : items) {
    if (!is_known(item))
      throw std::invalid_argument("operator " + info.name + " has no canonical attribute \"" +
                                  item.first + "\"");
  }
  for (const AttrSpec& spec : info.attributes) {
    const auto found = std::find_if(items.begin(), items.end(),
                                    [&](const Attrs::Item& i) { return i.first == spec.name; });
    if (found == items.end()) {
      if (!spec.default_value)
        throw std::invalid_argument("operator " + info.name + " needs attribute \"" + spec.name +
                                    "\"");
      items.emplace_back(spec.name, *spec.default_value);
      continue;
    }
    // Numbers written without a point, and empty lists, take the type that the operator wants.
    if (auto* i = std::get_if<int64_t>(&found->second);
        i && std::holds_alternative<double>(spec.like))
      found->second = static_cast<double>(*i);
    if (auto* list = std::get_if<Ints>(&found->second);
        list && std::holds_alternative<Floats>(spec.like))
      found->second = Floats(list->begin(), list->end());
    if (found->second.index() != spec.like.index())
      throw std::invalid_argument("operator " + info.name + ": attribute " + spec.name + "=" +
                                  attr_text(found->second) + " has the wrong type");
  }
  return Attrs::make(std::move(items));
}

AttrsPtr canonical_attributes(OpIndex op, const AttrsPtr& attrs) {
  // Null where there is none for every attribute.
  static const auto kDefaults = [] {
    std::vector<AttrsPtr> defaults;
    for (size_t i = 0; i < operator_table().size(); ++i) {
      const bool has_all =
          std::ranges::all_of(operator_table()[i].attributes,
                              [](const AttrSpec& s) { return s.default_value.has_value(); });
      defaults.push_back(
          has_all ? canonical_attributes(static_cast<OpIndex>(i), std::vector<Attrs::Item>())
                  : nullptr);
    }
    return defaults;
  }();
  const AttrsPtr& defaults = kDefaults[static_cast<size_t>(op)];
  if (attrs->items().empty() && defaults) return defaults;
  const auto& specs = operator_info(op).attributes;
  const bool is_canonical =
      attrs->items().size() == specs.size() && std::ranges::all_of(specs, [&](const auto& spec) {
        const AttrValue* value = attrs->find(spec.name);
        return value && value->index() == spec.like.index();
      });
  return is_canonical ? attrs : canonical_attributes(op, attrs->items());
}

}  // namespace xflowrl
