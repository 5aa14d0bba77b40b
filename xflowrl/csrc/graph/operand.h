// What a node reads.
#pragma once

#include <span>

#include "graph/tensor_type.h"

namespace xflowrl {

// The type of a tensor that is read, whether it depends on constants alone, and the operator that
// makes it, where that is known. Used like a pointer to the type, which is null for an omitted
// optional operand.
struct Operand {
  const TensorType* type = nullptr;
  bool is_constant = false;
  int32_t producer = -1;  // an OpIndex

  explicit operator bool() const { return type != nullptr; }
  const TensorType& operator*() const { return *type; }
  const TensorType* operator->() const { return type; }
};
using Operands = std::span<const Operand>;

}  // namespace xflowrl
