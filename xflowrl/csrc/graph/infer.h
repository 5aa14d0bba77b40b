// Type inference of the canonical operators, one function a family (ONNX operator specification).
#pragma once

#include <span>
#include <vector>

#include "graph/attributes.h"
#include "graph/operand.h"

namespace xflowrl {

// Broadcasts b into a (NumPy's rules). Returns false if the shapes do not fit.
bool broadcast_into(TensorType& a, const TensorType& b);

namespace infer {

// Appends a type to the outputs and returns nullptr, or returns why there is no such type.
const char* emit(std::vector<TensorType>& outputs, DType dtype, std::span<const int64_t> dims);

#define XFLOWRL_INFER(name) \
  const char* name(Operands inputs, const Attrs& attrs, std::vector<TensorType>& outputs)

XFLOWRL_INFER(same_as_first);
XFLOWRL_INFER(broadcast);
XFLOWRL_INFER(compare);
XFLOWRL_INFER(where);
XFLOWRL_INFER(matmul);
XFLOWRL_INFER(gemm);
XFLOWRL_INFER(per_channel_parameters);  // BatchNormalization, InstanceNormalization
XFLOWRL_INFER(layer_normalization);     // and RMSNormalization
XFLOWRL_INFER(prelu);
XFLOWRL_INFER(concat);
XFLOWRL_INFER(split);
XFLOWRL_INFER(slice);
XFLOWRL_INFER(pad);
XFLOWRL_INFER(transpose);
XFLOWRL_INFER(reshape);
XFLOWRL_INFER(flatten);
XFLOWRL_INFER(squeeze);
XFLOWRL_INFER(unsqueeze);
XFLOWRL_INFER(expand);
XFLOWRL_INFER(tile);
XFLOWRL_INFER(reduce);
XFLOWRL_INFER(softmax);
XFLOWRL_INFER(gather);

#undef XFLOWRL_INFER

}  // namespace infer
}  // namespace xflowrl
