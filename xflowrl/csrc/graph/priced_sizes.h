// The sizes a graph is priced at, where they differ from those it is rewritten at: a dimension that
// is dynamic has a size there that no other has, and a realistic one here.
#pragma once

#include <map>

#include "graph/tensor_type.h"

namespace xflowrl {

struct PricedSizes {
  std::map<int64_t, int64_t> sizes;    // of whole dimensions
  std::map<int64_t, int64_t> factors;  // of what divides the others; none is below 2

  int64_t of(int64_t size) const;
  TensorType of(TensorType type) const;
};

}  // namespace xflowrl
