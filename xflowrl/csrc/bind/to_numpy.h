#pragma once

#include <nanobind/ndarray.h>

#include <utility>
#include <vector>

namespace xflowrl {

// Hands a vector over to NumPy without a copy.
template <class T>
nanobind::object to_numpy(std::vector<T> values, size_t columns = 0) {
  namespace nb = nanobind;
  auto* owned = new std::vector<T>(std::move(values));
  const nb::capsule owner(owned, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  if (columns == 0)
    return nb::cast(nb::ndarray<nb::numpy, T>(owned->data(), {owned->size()}, owner));
  return nb::cast(
      nb::ndarray<nb::numpy, T>(owned->data(), {owned->size() / columns, columns}, owner));
}

}  // namespace xflowrl
