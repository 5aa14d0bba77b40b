// Expressions over attribute variables and the shapes of bound tensors.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "graph/attributes.h"

namespace xflowrl {

enum class Fn {
  kAdd,
  kSub,
  kMul,
  kDiv,
  kMod,
  kMin,
  kMax,
  kList,
  kLen,
  kNth,
  kCat,
  kTake,
  kDrop,
  kSplice,
  kPut,
  kSum,
  kProd,
  kFill,
  kIota,
  kPermute,
  kIndex,
  kSublist,
  kDim,
  kRank,
  kShape,
  kSize,
  kDims,
  kEq,
  kLt,
  kLe,
  kGt,
  kGe,
  kAnd,
  kOr,
  kNot,
  kIf,
  kAll,
  kFloat,
  kValue,
  kSameShape,
};

struct FunctionInfo {
  std::string_view name;
  Fn fn;
  int min_args, max_args;  // max_args -1: any number
};
// nullptr if there is no such function.
const FunctionInfo* find_function(std::string_view name);

struct Expr {
  enum class Kind { kNone, kConstant, kAttribute, kTensor, kSequence, kNodeOutput, kCall };
  Kind kind = Kind::kNone;
  AttrValue constant;
  int var = -1;    // of kNodeOutput: a source node
  int output = 0;  // kNodeOutput
  Fn fn = Fn::kAdd;
  std::vector<Expr> args;
};

}  // namespace xflowrl
