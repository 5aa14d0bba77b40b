// Type inference of what moves a window over its input: convolutions and pools.
#pragma once

#include <vector>

#include "graph/attributes.h"
#include "graph/operand.h"

namespace xflowrl::infer {

const char* conv(Operands inputs, const Attrs& attrs, std::vector<TensorType>& outputs);
const char* conv_transpose(Operands inputs, const Attrs& attrs, std::vector<TensorType>& outputs);
const char* pool(Operands inputs, const Attrs& attrs, std::vector<TensorType>& outputs);
const char* global_pool(Operands inputs, const Attrs& attrs, std::vector<TensorType>& outputs);

}  // namespace xflowrl::infer
