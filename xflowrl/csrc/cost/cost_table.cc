#include "cost/cost_table.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace xflowrl {
namespace {

// TASO gives every pool a weight of shape (C, 1, KH, KW), and pays for reading it.
double pool_weight_bytes(const Node& node, const TensorType& x) {
  static const OpIndex kGlobalAveragePool = find_operator("GlobalAveragePool"),
                       kGlobalMaxPool = find_operator("GlobalMaxPool"),
                       kMaxPool = find_operator("MaxPool"),
                       kAveragePool = find_operator("AveragePool");
  const bool is_global = node.op == kGlobalAveragePool || node.op == kGlobalMaxPool;
  const bool is_pool = node.op == kMaxPool || node.op == kAveragePool;
  if (!is_global && !is_pool) return 0;
  double elements = static_cast<double>(x.dim(1));
  for (int i = 2; i < x.rank(); ++i) {
    elements *= static_cast<double>(
        is_global ? x.dim(i) : node.attrs->ints("kernel_shape")[static_cast<size_t>(i - 2)]);
  }
  return elements * dtype_bits(x.dtype) / 8;
}

// What TASO has as one free operator of its own: broadcast_add (here a Sum), and what folds a batch
// normalisation, enlarges a kernel or merges groups on the weights.
bool is_preprocessing(const Node& node, Operands inputs) {
  static const OpIndex kSum = find_operator("Sum"), kMatMul = find_operator("MatMul"),
                       kConv = find_operator("Conv"), kAdd = find_operator("Add"),
                       kMul = find_operator("Mul");
  if (node.op == kSum) return true;
  if (!node.is_constant || node.op == kMatMul || node.op == kConv) return false;
  const bool is_elementwise = node.op == kAdd || node.op == kMul;
  return !(is_elementwise && inputs[0]->rank() > 1 && *inputs[0] == *inputs[1]);
}

bool has_unknown_type(const Node& node, Operands inputs) {
  return std::any_of(inputs.begin(), inputs.end(),
                     [](const Operand& o) { return o && o->dtype == DType::kUnknown; }) ||
         std::any_of(node.outputs.begin(), node.outputs.end(),
                     [](const Output& o) { return o.type.dtype == DType::kUnknown; });
}

// The attributes that hold sizes of dimensions, at other sizes.
AttrsPtr resized(const AttrsPtr& attrs, const PricedSizes& sizes) {
  std::vector<Attrs::Item> items = attrs->items();
  bool changes = false;
  for (auto& [name, value] : items) {
    if (name != "shape" && name != "split" && name != "ends") continue;
    for (int64_t& size : std::get<Ints>(value)) size = sizes.of(size);
    changes = true;
  }
  return changes ? Attrs::make(std::move(items)) : attrs;
}

}  // namespace

std::shared_ptr<CostTable> CostTable::roofline(double flops_per_s, double bytes_per_s,
                                               double overhead_ms, Correction correction) {
  return std::shared_ptr<CostTable>(
      new CostTable(Kind::kRoofline, flops_per_s, bytes_per_s, overhead_ms, std::move(correction)));
}
std::shared_ptr<CostTable> CostTable::taso(double flops_per_s, double bytes_per_s,
                                           double overhead_ms) {
  return std::shared_ptr<CostTable>(
      new CostTable(Kind::kTaso, flops_per_s, bytes_per_s, overhead_ms));
}
std::shared_ptr<CostTable> CostTable::measured(Correction correction) {
  return std::shared_ptr<CostTable>(new CostTable(Kind::kMeasured, 1, 1, 0, std::move(correction)));
}

double CostTable::formula_ms(const NodeWork& work) const {
  return overhead_ms_ + 1000 * std::max(work.flops / flops_per_s_, work.bytes / bytes_per_s_);
}

double CostTable::taso_ms(const Node& node, NodeWork work, Operands inputs) const {
  static const OpIndex kConcat = find_operator("Concat"), kGemm = find_operator("Gemm");
  if (work.kind == Work::kCopy && !(node.op == kConcat && node.is_original)) return 0;
  if (node.op >= 0 && operator_info(node.op).name.starts_with("Reduce")) return 0;
  // What is opaque need have neither the operands nor the attributes that are read below.
  if (node.is_opaque) return formula_ms(work);
  if (!node.is_original && is_preprocessing(node, inputs)) return 0;
  work.bytes += pool_weight_bytes(node, *inputs[0]);
  if (node.op != kGemm || inputs.size() < 3 || !inputs[2]) return formula_ms(work);
  // To TASO it is a MatMul and an Add.
  const double output_bytes = node.outputs[0].type.num_bytes();
  const NodeWork add{static_cast<double>(node.outputs[0].type.num_elements()),
                     2 * output_bytes + inputs[2]->num_bytes(), Work::kCompute};
  work.bytes -= inputs[2]->num_bytes();
  return formula_ms(work) + formula_ms(add);
}

double CostTable::measured_ms(const Node& node, Operands inputs) {
  if (const auto found = known_.find(node.signature); found != known_.end()) return *found->second;
  if (!unknown_keys_.contains(node.signature)) {
    OpSignature signature(node, inputs);
    const std::string key = signature.key();
    if (const auto known = known_by_key_.find(key); known != known_by_key_.end())
      return *(known_[node.signature] = &known->second);
    unknown_keys_.emplace(node.signature, key);
    unknown_.push_back(std::move(signature));
  }
  return std::numeric_limits<double>::quiet_NaN();
}

Cost CostTable::price(const Node& node, Operands inputs, const PricedSizes* sizes) {
  Cost cost = uncorrected(node, inputs, sizes);
  if (cost.kernels == 0 || correction_.empty()) return cost;
  const auto factor = correction_.find(op_class(node, inputs));
  if (factor != correction_.end()) cost.ms *= factor->second;
  return cost;
}

Cost CostTable::uncorrected(const Node& node, Operands inputs, const PricedSizes* sizes) {
  if (node.is_leaf() || (node.is_constant && kind_ != Kind::kTaso)) return {};
  if (has_unknown_type(node, inputs)) return {};
  if (sizes) return price_resized(node, inputs, *sizes);
  const NodeWork work = node_work(node, inputs);
  if (work.kind == Work::kFree) return {};
  switch (kind_) {
    case Kind::kRoofline:
      return {formula_ms(work), work.flops, work.bytes, 1};
    case Kind::kTaso:
      return {taso_ms(node, work, inputs), work.flops, work.bytes, 1};
    case Kind::kMeasured:
      return {measured_ms(node, inputs), work.flops, work.bytes, 1};
  }
  return {};
}

// The price of a node whose tensors have other sizes.
Cost CostTable::price_resized(Node node, Operands inputs, const PricedSizes& sizes) {
  std::vector<TensorType> types;
  types.reserve(inputs.size());  // operands point into it
  std::vector<Operand> operands(inputs.begin(), inputs.end());
  for (Operand& operand : operands) {
    if (operand) operand.type = &types.emplace_back(sizes.of(*operand));
  }
  for (Output& output : node.outputs) output.type = sizes.of(output.type);
  if (!node.is_opaque) node.attrs = resized(node.attrs, sizes);
  sign(node, operands);
  return uncorrected(node, operands, nullptr);
}

Cost CostTable::price(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  if (node.is_leaf()) return {};
  return price(node, graph.operands(node), graph.priced_sizes());
}

Cost CostTable::price(const Graph& graph) {
  Cost total;
  for (const NodeId id : graph.topological_order()) total += price(graph, id);
  return total;
}

std::map<OpClass, double> CostTable::ms_by_class(const Graph& graph) {
  std::map<OpClass, double> sums;
  for (const NodeId id : graph.topological_order()) {
    const Node& node = graph.node(id);
    if (node.is_leaf()) continue;
    const std::vector<Operand> operands = graph.operands(node);
    const Cost cost = uncorrected(node, operands, graph.priced_sizes());
    if (cost.kernels) sums[op_class(node, operands)] += cost.ms;
  }
  return sums;
}

std::vector<OpSignature> CostTable::unknown() const { return unknown_; }

void CostTable::set(const std::string& key, double ms) {
  known_by_key_[key] = ms;
  std::erase_if(unknown_,
                [&](const OpSignature& s) { return unknown_keys_.at(s.node.signature) == key; });
  std::erase_if(unknown_keys_, [&](const auto& item) {
    if (item.second == key) known_[item.first] = &known_by_key_[key];
    return item.second == key;
  });
}

std::optional<double> CostTable::get(const std::string& key) const {
  const auto found = known_by_key_.find(key);
  return found == known_by_key_.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace xflowrl
