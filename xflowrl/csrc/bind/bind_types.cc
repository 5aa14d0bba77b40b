#include "bind/bind_types.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

namespace nb = nanobind;

namespace xflowrl {

nb::object attr_to_python(const AttrValue& value) {
  return std::visit(
      [](const auto& v) -> nb::object {
        if constexpr (std::is_same_v<std::decay_t<decltype(v)>, Blob>) {
          return nb::bytes(v.bytes.data(), v.bytes.size());
        } else {
          return nb::cast(v);
        }
      },
      value);
}

nb::dict attrs_to_python(const Attrs& attrs) {
  nb::dict dict;
  for (const Attrs::Item& item : attrs.items())
    dict[nb::cast(item.first)] = attr_to_python(item.second);
  return dict;
}

}  // namespace xflowrl
