// What a node reads.
#pragma once

#include <span>

#include "graph/tensor_type.h"

namespace xflowrl {

// Types of the operands; nullptr stands for an omitted optional operand.
using OperandTypes = std::span<const TensorType* const>;

}  // namespace xflowrl
