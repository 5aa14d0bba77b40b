#include "graph/priced_sizes.h"

#include <algorithm>

namespace xflowrl {

int64_t PricedSizes::of(int64_t size) const {
  if (const auto found = sizes.find(size); found != sizes.end()) return found->second;
  int64_t multiple = 1;
  for (const auto& [factor, priced] : factors) {
    for (; size > 0 && size % factor == 0 && multiple <= kMaxDimension; size /= factor)
      multiple *= priced;
  }
  return std::min(size * std::min(multiple, kMaxDimension), kMaxDimension);
}

TensorType PricedSizes::of(TensorType type) const {
  for (int i = 0; i < type.rank(); ++i) {
    int64_t& dim = type.dims_[static_cast<size_t>(i)];
    const int64_t before = dim;
    dim = of(dim);
    if (!type.is_countable()) dim = before;
  }
  return type;
}

}  // namespace xflowrl
