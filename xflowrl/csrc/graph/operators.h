// The operator table: what the engine knows of each ONNX operator in its canonical form (opset 18,
// constant operands as attributes; later operators as they first came). An operator that is not in
// the table is carried as it is.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "graph/attributes.h"
#include "graph/operand.h"
#include "graph/tensor_type.h"

namespace xflowrl {

// Index into the table. The first entries are the leaves of a graph.
using OpIndex = int32_t;
inline constexpr OpIndex kUnknownOp = -1;
inline constexpr OpIndex kInputOp = 0;
inline constexpr OpIndex kWeightOp = 1;
inline constexpr OpIndex kLiteralOp = 2;
inline constexpr OpIndex kFirstOperator = 3;
// The most elements of a literal.
inline constexpr int64_t kMaxLiteral = 64;

// How the time of an operator comes about.
enum class Work {
  kFree,     // moves no data: Reshape, Identity, ...
  kCopy,     // moves data, computes nothing: Concat, Transpose, ...
  kCompute,  // moves data and has a FLOP count
  kUnknown,  // moves data; its FLOPs are not counted
};

// Which element types ONNX allows for an operator's data.
enum class Allowed { kAny, kFloat, kSigned, kNumber, kBool };

// Appends the output types and returns nullptr, or returns why the types do not fit (static text).
using InferFn = const char* (*)(Operands inputs, const Attrs& attrs,
                                std::vector<TensorType>& outputs);
using FlopsFn = double (*)(Operands inputs, const TensorType& output, const Attrs& attrs);

struct AttrSpec {
  std::string name;
  std::optional<AttrValue> default_value;  // none: required
  AttrValue like;                          // has the attribute's type
};

struct OperatorInfo {
  std::string name;
  Work work = Work::kUnknown;
  int min_inputs = 1;
  int max_inputs = 1;  // -1: any number
  bool commutative = false;
  Allowed allowed = Allowed::kAny;
  std::vector<AttrSpec> attributes;
  InferFn infer = nullptr;  // nullptr: types must be given
  FlopsFn flops = nullptr;
};

std::span<const OperatorInfo> operator_table();
OpIndex find_operator(std::string_view name);  // kUnknownOp if absent; ONNX's own domain only
inline const OperatorInfo& operator_info(OpIndex op) {
  return operator_table()[static_cast<size_t>(op)];
}

// Infers the output types of a canonical node; checks the number of operands first.
const char* infer_types(OpIndex op, Operands inputs, const Attrs& attrs,
                        std::vector<TensorType>& outputs);

// The fused activations; index 0 is "no activation".
std::span<const std::string_view> activation_names();

}  // namespace xflowrl
