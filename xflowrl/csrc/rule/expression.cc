#include "rule/expression.h"

namespace xflowrl {
namespace {

constexpr FunctionInfo kFunctions[] = {
    {"+", Fn::kAdd, 1, -1},      {"-", Fn::kSub, 1, -1},
    {"*", Fn::kMul, 1, -1},      {"/", Fn::kDiv, 2, 2},
    {"%", Fn::kMod, 2, 2},       {"min", Fn::kMin, 1, -1},
    {"max", Fn::kMax, 1, -1},    {"list", Fn::kList, 0, -1},
    {"len", Fn::kLen, 1, 1},     {"nth", Fn::kNth, 2, 2},
    {"cat", Fn::kCat, 1, -1},    {"take", Fn::kTake, 2, 2},
    {"drop", Fn::kDrop, 2, 2},   {"splice", Fn::kSplice, 3, 3},
    {"put", Fn::kPut, 3, 3},     {"sum", Fn::kSum, 1, 1},
    {"prod", Fn::kProd, 1, 1},   {"fill", Fn::kFill, 2, 2},
    {"iota", Fn::kIota, 1, 1},   {"permute", Fn::kPermute, 2, 2},
    {"index", Fn::kIndex, 2, 2}, {"sublist", Fn::kSublist, 3, 3},
    {"dim", Fn::kDim, 2, 2},     {"rank", Fn::kRank, 1, 1},
    {"shape", Fn::kShape, 1, 1}, {"size", Fn::kSize, 1, 1},
    {"dims", Fn::kDims, 2, 2},   {"=", Fn::kEq, 2, 2},
    {"<", Fn::kLt, 2, 2},        {"<=", Fn::kLe, 2, 2},
    {">", Fn::kGt, 2, 2},        {">=", Fn::kGe, 2, 2},
    {"and", Fn::kAnd, 1, -1},    {"or", Fn::kOr, 1, -1},
    {"not", Fn::kNot, 1, 1},     {"if", Fn::kIf, 3, 3},
    {"all", Fn::kAll, 2, 2},     {"float", Fn::kFloat, 1, 1},
    {"value", Fn::kValue, 1, 1}, {"same-shape", Fn::kSameShape, 2, 2},
};

}  // namespace

const FunctionInfo* find_function(std::string_view name) {
  for (const FunctionInfo& info : kFunctions) {
    if (info.name == name) return &info;
  }
  return nullptr;
}

}  // namespace xflowrl
