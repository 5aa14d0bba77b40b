#include "graph/operators.h"

#include <algorithm>
#include <limits>
#include <unordered_map>

#include "graph/infer.h"
#include "graph/infer_windows.h"

namespace xflowrl {
namespace {

double elements(const TensorType& type) { return static_cast<double>(type.num_elements()); }

// FLOPs: a multiply and an add are two; one elementary function is one.
template <int kFactor>
double elementwise_flops(Operands, const TensorType& out, const Attrs&) {
  return kFactor * elements(out);
}

double variadic_flops(Operands in, const TensorType& out, const Attrs&) {
  return (static_cast<double>(in.size()) - 1) * elements(out);
}

double conv_flops(Operands in, const TensorType& out, const Attrs&) {
  // Each output takes one product per element of its kernel: C / group * KH * KW.
  const TensorType& w = *in[1];
  return w.dim(0) == 0 ? 0 : 2 * elements(out) * elements(w) / static_cast<double>(w.dim(0));
}

double conv_transpose_flops(Operands in, const TensorType&, const Attrs&) {
  // Each input meets one product per element of its kernel: O / group * KH * KW.
  const TensorType& w = *in[1];
  return w.dim(0) == 0 ? 0 : 2 * elements(*in[0]) * elements(w) / static_cast<double>(w.dim(0));
}

double matmul_flops(Operands in, const TensorType& out, const Attrs&) {
  return 2 * elements(out) * static_cast<double>(in[0]->dim(in[0]->rank() - 1));
}

double gemm_flops(Operands in, const TensorType& out, const Attrs& attrs) {
  const AttrValue* trans = attrs.find("transA");
  const bool transposed = trans && std::get<int64_t>(*trans) != 0;
  return 2 * elements(out) * static_cast<double>(in[0]->dim(transposed ? 0 : 1));
}

double pool_flops(Operands, const TensorType& out, const Attrs& attrs) {
  double window = 1;
  for (int64_t k : attrs.ints("kernel_shape")) window *= static_cast<double>(k);
  return window * elements(out);
}

double input_flops(Operands in, const TensorType&, const Attrs&) { return elements(*in[0]); }

double lrn_flops(Operands, const TensorType& out, const Attrs& attrs) {
  const AttrValue* size = attrs.find("size");
  return (2.0 * (size ? static_cast<double>(std::get<int64_t>(*size)) : 1) + 3) * elements(out);
}

// One gate is a product with the input and one with the state: X [T,B,I], W [D,G*H,I], R [D,G*H,H].
double recurrent_flops(Operands in, const TensorType&, const Attrs&) {
  if (in.size() < 3 || in[0]->rank() < 2) return 0;
  return 2 * static_cast<double>(in[0]->dim(0) * in[0]->dim(1)) *
         (elements(*in[1]) + elements(*in[2]));
}

// A list of integers, but for the two that are single.
AttrSpec required(const char* name) {
  const bool single = std::string_view(name) == "axis" || std::string_view(name) == "size";
  return {name, std::nullopt, single ? AttrValue(int64_t{0}) : AttrValue(Ints{})};
}
AttrSpec with_default(const char* name, AttrValue value) { return {name, value, value}; }
AttrSpec integer(const char* name, int64_t value) { return with_default(name, value); }
AttrSpec real(const char* name, double value) { return with_default(name, value); }
AttrSpec text(const char* name, const char* value) {
  return with_default(name, std::string(value));
}

// Type constraints of opset 18, of a later operator those of its first.
Allowed allowed_types(std::string_view name) {
  constexpr std::string_view kFloats[] = {"Conv",
                                          "ConvTranspose",
                                          "BatchNormalization",
                                          "InstanceNormalization",
                                          "LayerNormalization",
                                          "RMSNormalization",
                                          "LRN",
                                          "AveragePool",
                                          "GlobalAveragePool",
                                          "GlobalMaxPool",
                                          "Sigmoid",
                                          "Tanh",
                                          "HardSwish",
                                          "HardSigmoid",
                                          "Softplus",
                                          "Softsign",
                                          "Mish",
                                          "Exp",
                                          "Log",
                                          "Sqrt",
                                          "Reciprocal",
                                          "Floor",
                                          "Ceil",
                                          "Round",
                                          "Sin",
                                          "Cos",
                                          "LeakyRelu",
                                          "Elu",
                                          "Celu",
                                          "ThresholdedRelu",
                                          "Swish",
                                          "Selu",
                                          "Gelu",
                                          "Softmax",
                                          "LogSoftmax",
                                          "Sum",
                                          "Mean"};
  constexpr std::string_view kSigneds[] = {"Relu", "Neg"};
  constexpr std::string_view kBools[] = {"And", "Or", "Xor", "Not"};
  constexpr std::string_view kNumbers[] = {
      "MatMul", "Gemm",        "Erf", "Abs", "Sign",   "Clip",    "PRelu",
      "Add",    "Sub",         "Mul", "Div", "Pow",    "Greater", "GreaterOrEqual",
      "Less",   "LessOrEqual", "Min", "Max", "MaxPool"};
  const auto is_in = [&](const auto& names) {
    return std::find(std::begin(names), std::end(names), name) != std::end(names);
  };
  if (is_in(kFloats)) return Allowed::kFloat;
  if (is_in(kSigneds)) return Allowed::kSigned;
  if (is_in(kBools)) return Allowed::kBool;
  if (is_in(kNumbers) || name.starts_with("Reduce")) return Allowed::kNumber;
  return Allowed::kAny;
}

bool is_allowed(Allowed allowed, DType dtype) {
  const bool is_signed = dtype >= DType::kInt8 && dtype <= DType::kInt64;
  const bool is_unsigned = dtype >= DType::kUInt8 && dtype <= DType::kUInt64;
  switch (allowed) {
    case Allowed::kAny:
      return true;
    case Allowed::kFloat:
      return is_float(dtype);
    case Allowed::kSigned:
      return is_float(dtype) || is_signed;
    case Allowed::kNumber:
      return is_float(dtype) || is_signed || is_unsigned;
    case Allowed::kBool:
      return dtype == DType::kBool;
  }
  return false;
}

std::vector<OperatorInfo> make_table() {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  std::vector<OperatorInfo> table;
  const auto add = [&](const char* name, Work work, int min_inputs, int max_inputs,
                       InferFn infer_fn, FlopsFn flops, std::vector<AttrSpec> attrs = {},
                       bool commutative = false) {
    table.push_back({name, work, min_inputs, max_inputs, commutative, allowed_types(name),
                     std::move(attrs), infer_fn, flops});
  };
  const AttrSpec activation = text("activation", "");
  const AttrSpec activation_params = with_default("activation_params", Floats{});

  // Leaves.
  add("Input", Work::kFree, 0, 0, nullptr, nullptr);
  add("Weight", Work::kFree, 0, 0, nullptr, nullptr);
  add("Literal", Work::kFree, 0, 0, nullptr, nullptr);

  // Convolutions and products, with their fused activation.
  add("Conv", Work::kCompute, 2, 3, infer::conv, conv_flops,
      {required("strides"), required("pads"), required("dilations"), integer("group", 1),
       activation, activation_params});
  add("ConvTranspose", Work::kCompute, 2, 3, infer::conv_transpose, conv_transpose_flops,
      {required("strides"), required("pads"), required("dilations"), required("output_padding"),
       integer("group", 1)});
  add("MatMul", Work::kCompute, 2, 2, infer::matmul, matmul_flops, {activation, activation_params});
  add("Gemm", Work::kCompute, 2, 3, infer::gemm, gemm_flops,
      {real("alpha", 1), real("beta", 1), integer("transA", 0), integer("transB", 0), activation,
       activation_params});

  // Normalisation and pooling.
  add("BatchNormalization", Work::kCompute, 5, 5, infer::per_channel_parameters,
      elementwise_flops<2>, {real("epsilon", 1e-5)});
  add("InstanceNormalization", Work::kCompute, 3, 3, infer::per_channel_parameters,
      elementwise_flops<8>, {real("epsilon", 1e-5)});
  add("LayerNormalization", Work::kCompute, 2, 3, infer::layer_normalization, elementwise_flops<8>,
      {required("axis"), real("epsilon", 1e-5)});
  add("RMSNormalization", Work::kCompute, 2, 2, infer::layer_normalization, elementwise_flops<6>,
      {required("axis"), real("epsilon", 1e-5)});
  add("LRN", Work::kCompute, 1, 1, infer::same_as_first, lrn_flops,
      {real("alpha", 1e-4), real("beta", 0.75), real("bias", 1), required("size")});
  for (const char* name : {"MaxPool", "AveragePool"}) {
    add(name, Work::kCompute, 1, 1, infer::pool, pool_flops,
        {required("kernel_shape"), required("strides"), required("pads"), required("dilations"),
         integer("ceil_mode", 0)});
  }
  table.back().attributes.push_back(integer("count_include_pad", 0));
  for (const char* name : {"GlobalAveragePool", "GlobalMaxPool"})
    add(name, Work::kCompute, 1, 1, infer::global_pool, input_flops);

  // Activations and other functions of one operand.
  for (const char* name :
       {"Relu",  "Sigmoid", "Tanh",  "HardSwish", "Softplus", "Softsign", "Mish",
        "Erf",   "Exp",     "Log",   "Sqrt",      "Abs",      "Neg",      "Reciprocal",
        "Floor", "Ceil",    "Round", "Sin",       "Cos",      "Sign",     "Not"})
    add(name, Work::kCompute, 1, 1, infer::same_as_first, elementwise_flops<1>);
  for (const auto& [name, alpha] :
       {std::pair{"LeakyRelu", 0.01}, std::pair{"Elu", 1.0}, std::pair{"Celu", 1.0},
        std::pair{"ThresholdedRelu", 1.0}, std::pair{"Swish", 1.0}})
    add(name, Work::kCompute, 1, 1, infer::same_as_first, elementwise_flops<1>,
        {real("alpha", alpha)});
  add("Selu", Work::kCompute, 1, 1, infer::same_as_first, elementwise_flops<1>,
      {real("alpha", 1.67326319217681884765625), real("gamma", 1.05070102214813232421875)});
  add("HardSigmoid", Work::kCompute, 1, 1, infer::same_as_first, elementwise_flops<1>,
      {real("alpha", 0.2), real("beta", 0.5)});
  add("Gelu", Work::kCompute, 1, 1, infer::same_as_first, elementwise_flops<1>,
      {text("approximate", "none")});
  add("Clip", Work::kCompute, 1, 1, infer::same_as_first, elementwise_flops<1>,
      {real("min", -kInf), real("max", kInf)});
  add("PRelu", Work::kCompute, 2, 2, infer::prelu, elementwise_flops<1>);
  add("Softmax", Work::kCompute, 1, 1, infer::softmax, elementwise_flops<4>, {required("axis")});
  add("LogSoftmax", Work::kCompute, 1, 1, infer::softmax, elementwise_flops<5>, {required("axis")});

  // Functions of two or more operands.
  for (const char* name : {"Add", "Mul"})
    add(name, Work::kCompute, 2, 2, infer::broadcast, elementwise_flops<1>, {}, true);
  for (const char* name : {"Sub", "Div", "Pow", "And", "Or", "Xor"})
    add(name, Work::kCompute, 2, 2, infer::broadcast, elementwise_flops<1>);
  for (const char* name : {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"})
    add(name, Work::kCompute, 2, 2, infer::compare, elementwise_flops<1>);
  for (const char* name : {"Sum", "Min", "Max", "Mean"})
    add(name, Work::kCompute, 1, -1, infer::broadcast, variadic_flops);
  add("Where", Work::kCompute, 3, 3, infer::where, elementwise_flops<1>);

  // Copies.
  add("Concat", Work::kCopy, 1, -1, infer::concat, nullptr, {required("axis")});
  add("Split", Work::kCopy, 1, 1, infer::split, nullptr, {required("axis"), required("split")});
  add("Slice", Work::kCopy, 1, 1, infer::slice, nullptr,
      {required("starts"), required("ends"), required("axes"), required("steps")});
  add("Pad", Work::kCopy, 1, 1, infer::pad, nullptr,
      {required("pads"), text("mode", "constant"), real("value", 0)});
  add("Transpose", Work::kCopy, 1, 1, infer::transpose, nullptr, {required("perm")});
  add("Expand", Work::kCopy, 1, 1, infer::expand, nullptr, {required("shape")});
  add("Tile", Work::kCopy, 1, 1, infer::tile, nullptr, {required("repeats")});
  add("Gather", Work::kCopy, 2, 2, infer::gather, nullptr, {integer("axis", 0)});
  for (const char* name : {"GatherElements", "GatherND", "ScatterElements", "ScatterND",
                           "DepthToSpace", "SpaceToDepth", "Cast", "Resize"})
    add(name, Work::kCopy, 1, -1, nullptr, nullptr);

  // Other names for the same data.
  add("Reshape", Work::kFree, 1, 1, infer::reshape, nullptr, {required("shape")});
  add("Flatten", Work::kFree, 1, 1, infer::flatten, nullptr, {integer("axis", 1)});
  add("Squeeze", Work::kFree, 1, 1, infer::squeeze, nullptr, {required("axes")});
  add("Unsqueeze", Work::kFree, 1, 1, infer::unsqueeze, nullptr, {required("axes")});
  add("Identity", Work::kFree, 1, 1, infer::same_as_first, nullptr);
  add("Dropout", Work::kFree, 1, 1, infer::same_as_first, nullptr);

  // Reductions.
  for (const char* name :
       {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
        "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"})
    add(name, Work::kCompute, 1, 1, infer::reduce, input_flops,
        {required("axes"), integer("keepdims", 1)});

  // Carried as they are, with a FLOP count.
  for (const char* name : {"LSTM", "GRU", "RNN"})
    add(name, Work::kCompute, 3, -1, nullptr, recurrent_flops);
  for (const char* name : {"ArgMax", "ArgMin", "CumSum", "GlobalLpPool", "LpPool",
                           "LpNormalization", "MeanVarianceNormalization"})
    add(name, Work::kCompute, 1, -1, nullptr, input_flops);
  return table;
}

constexpr std::string_view kActivations[] = {"",        "Relu", "LeakyRelu", "Clip",
                                             "Sigmoid", "Tanh", "HardSwish", "HardSigmoid",
                                             "Swish",   "Gelu", "GeluTanh"};

bool attributes_in_range(const Attrs& attrs) {
  const auto in_range = [](int64_t i) { return i >= -kMaxDimension && i <= kMaxDimension; };
  for (const Attrs::Item& item : attrs.items()) {
    if (const int64_t* i = std::get_if<int64_t>(&item.second); i && !in_range(*i)) return false;
    const Ints* list = std::get_if<Ints>(&item.second);
    if (list && !std::all_of(list->begin(), list->end(), in_range)) return false;
  }
  return true;
}

// The fused activation, if the operator has one, against what ONNX defines.
const char* check_activation(const Attrs& attrs, DType dtype) {
  const AttrValue* fused = attrs.find("activation");
  if (!fused) return nullptr;
  const std::string* name = std::get_if<std::string>(fused);
  if (!name ||
      std::find(std::begin(kActivations), std::end(kActivations), *name) == std::end(kActivations))
    return "there is no such activation";
  const Floats* params = std::get_if<Floats>(attrs.find("activation_params"));
  const size_t wanted = *name == "Clip" || *name == "HardSigmoid"  ? 2
                        : *name == "LeakyRelu" || *name == "Swish" ? 1
                                                                   : 0;
  if (!params || params->size() != wanted) return "wrong number of activation_params";
  const OpIndex fn = find_operator(*name == "GeluTanh" ? "Gelu" : *name);
  if (fn != kUnknownOp && !is_allowed(operator_info(fn).allowed, dtype))
    return "the activation is not defined for this element type";
  return nullptr;
}

}  // namespace

std::span<const OperatorInfo> operator_table() {
  static const std::vector<OperatorInfo> kTable = make_table();
  return kTable;
}

OpIndex find_operator(std::string_view name) {
  static const auto kIndex = [] {
    std::unordered_map<std::string_view, OpIndex> index;
    for (const OperatorInfo& info : operator_table())
      index.emplace(info.name, static_cast<OpIndex>(index.size()));
    return index;
  }();
  const auto found = kIndex.find(name);
  return found == kIndex.end() ? kUnknownOp : found->second;
}

const char* infer_types(OpIndex op, Operands inputs, const Attrs& attrs,
                        std::vector<TensorType>& outputs) {
  const OperatorInfo& info = operator_info(op);
  if (!info.infer) return "the engine does not infer the types of this operator";
  const int count = static_cast<int>(inputs.size());
  if (count < info.min_inputs || (info.max_inputs >= 0 && count > info.max_inputs))
    return "wrong number of operands";
  const int needed = info.max_inputs < 0 ? count : info.min_inputs;
  for (int i = 0; i < needed; ++i) {
    if (!inputs[static_cast<size_t>(i)]) return "a required operand is missing";
  }
  if (!attributes_in_range(attrs)) return "an attribute is out of range";
  // MatMul and Gemm are defined for 32 and 64 bits alone.
  const bool is_product = info.name == "MatMul" || info.name == "Gemm";
  if (count > 0 &&
      (!is_allowed(info.allowed, inputs[0]->dtype) ||
       (is_product && !is_float(inputs[0]->dtype) && dtype_bits(inputs[0]->dtype) < 32)))
    return "the operator is not defined for this element type";
  if (const char* error = check_activation(attrs, inputs[0]->dtype)) return error;
  if (const char* error = info.infer(inputs, attrs, outputs)) return error;
  for (const TensorType& type : outputs) {
    if (!type.is_countable()) return "the result is too large";
  }
  return nullptr;
}

std::span<const std::string_view> activation_names() { return kActivations; }

}  // namespace xflowrl
