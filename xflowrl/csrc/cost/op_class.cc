#include "cost/op_class.h"

#include <algorithm>
#include <array>
#include <stdexcept>

#include "graph/infer.h"

namespace xflowrl {
namespace {

enum Kind {
  kPlain,
  kAfterProduct,      // reads a product, or what may be fused with one
  kAfterElementwise,  // reads an elementwise operator
  kPointwise,
  kDepthwise,
  kNarrow,     // groups of fewer channels than a vector register has lanes
  kGrouped,    // wider groups
  kStem,       // few input channels
  kUnaligned,  // channels that do not fill vector registers
  kThin,       // a product of few rows or columns: as slow as its weights are read
  kNumKinds
};
constexpr std::array<std::string_view, kNumKinds> kNames{
    "",        "after_product", "after_elementwise", "pointwise", "depthwise", "narrow",
    "grouped", "stem",          "unaligned",         "thin"};

constexpr int64_t kLanes = 8;  // float32 in a vector register of AVX2

// A batch normalisation counts as the convolution that every runtime folds it into.
bool is_product(OpIndex op) {
  static const std::array kProducts{find_operator("Conv"), find_operator("ConvTranspose"),
                                    find_operator("MatMul"), find_operator("Gemm"),
                                    find_operator("BatchNormalization")};
  return std::ranges::find(kProducts, op) != kProducts.end();
}

bool is_elementwise(OpIndex op) {
  if (op < kFirstOperator) return false;
  static const OpIndex kBatchNormalization = find_operator("BatchNormalization");
  const OperatorInfo& info = operator_info(op);
  return op == kBatchNormalization ||
         (info.work == Work::kCompute &&
          (info.infer == infer::same_as_first || info.infer == infer::broadcast ||
           info.infer == infer::prelu || info.infer == infer::where));
}

Kind conv_kind(const Node& node, Operands inputs) {
  if (node.is_opaque || inputs.size() < 2 || !inputs[0] || !inputs[1]) return kPlain;
  const TensorType &x = *inputs[0], &kernel = *inputs[1];
  const int64_t groups = node.attrs->integer("group");
  const int64_t in_channels = x.dim(1), out_channels = kernel.dim(0);
  if (groups > 1) {
    if (groups == in_channels && groups == out_channels) return kDepthwise;
    return std::min(in_channels, out_channels) / groups < kLanes ? kNarrow : kGrouped;
  }
  if (in_channels < kLanes) return kStem;
  if (in_channels % kLanes != 0 || out_channels % kLanes != 0) return kUnaligned;
  for (int i = 2; i < kernel.rank(); ++i) {
    if (kernel.dim(i) != 1) return kPlain;
  }
  return kPointwise;
}

Kind product_kind(const Node& node) {
  const TensorType& product = node.outputs[0].type;
  if (node.is_opaque || product.rank() < 2 || product.num_elements() == 0) return kPlain;
  const int64_t columns = product.dim(product.rank() - 1);
  return std::min(columns, product.num_elements() / columns) < kLanes ? kThin : kPlain;
}

Kind elementwise_kind(Operands inputs) {
  const auto reads = [&](auto is_such) {
    return std::ranges::any_of(
        inputs, [&](const Operand& o) { return !o.is_constant && is_such(o.producer); });
  };
  if (reads(is_product)) return kAfterProduct;
  return reads(is_elementwise) ? kAfterElementwise : kPlain;
}

}  // namespace

std::string OpClass::name() const {
  const std::string type(op == kUnknownOp ? "other" : operator_info(op).name);
  return kind == kPlain ? type : type + ":" + std::string(kNames.at(static_cast<size_t>(kind)));
}

OpClass op_class(const Node& node, Operands inputs) {
  static const OpIndex kConv = find_operator("Conv"), kMatMul = find_operator("MatMul"),
                       kGemm = find_operator("Gemm");
  if (node.op == kConv) return {node.op, conv_kind(node, inputs)};
  if (node.op == kMatMul || node.op == kGemm) return {node.op, product_kind(node)};
  return {node.op, is_elementwise(node.op) ? elementwise_kind(inputs) : kPlain};
}

OpClass find_op_class(std::string_view name) {
  const size_t colon = std::min(name.find(':'), name.size());
  const OpClass found{
      find_operator(name.substr(0, colon)),
      static_cast<int>(std::ranges::find(kNames, name.substr(std::min(colon + 1, name.size()))) -
                       kNames.begin())};
  if (found.op == kUnknownOp || found.kind == kNumKinds || found.name() != name)
    throw std::invalid_argument("there is no class of operators \"" + std::string(name) + "\"");
  return found;
}

}  // namespace xflowrl
