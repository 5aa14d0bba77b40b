// Classes of operators that a runtime treats alike: by what it fuses, and how it lays tensors out.
#pragma once

#include <string>
#include <string_view>

#include "graph/graph.h"

namespace xflowrl {

// An operator, and its kind among those of its type. Convolutions differ by groups and channels
// (`Conv:pointwise`), products by size, elementwise operators by the producers of what they read
// (`Relu:after_product` may be fused into a Conv or MatMul). Follows from a node and its producers'
// operators alone.
struct OpClass {
  OpIndex op = kUnknownOp;
  int kind = 0;
  auto operator<=>(const OpClass&) const = default;
  std::string name() const;
};

// Operands must know their producers.
OpClass op_class(const Node& node, Operands inputs);
// Throws std::invalid_argument if there is no class of that name.
OpClass find_op_class(std::string_view name);

}  // namespace xflowrl
