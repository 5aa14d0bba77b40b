// The attributes of an operator with none left out.
#pragma once

#include <vector>

#include "graph/operators.h"

namespace xflowrl {

// Fills in defaults. Throws std::invalid_argument for a missing or unknown attribute.
AttrsPtr canonical_attributes(OpIndex op, std::vector<Attrs::Item> items);
// The same; `attrs` itself where nothing is to be filled in.
AttrsPtr canonical_attributes(OpIndex op, const AttrsPtr& attrs);

}  // namespace xflowrl
