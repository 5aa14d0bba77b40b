#include "cost/work.h"

namespace xflowrl {

NodeWork node_work(const Node& node, Operands inputs) {
  NodeWork work;
  if (node.is_leaf()) return {0, 0, Work::kFree};
  const OperatorInfo* info = node.op == kUnknownOp ? nullptr : &operator_info(node.op);
  if (info) work.kind = info->work;
  for (const Operand& operand : inputs) work.bytes += operand ? operand->num_bytes() : 0;
  for (const Output& output : node.outputs) work.bytes += output.type.num_bytes();
  // The formulas trust canonical attributes and types; of operators that are never canonical they
  // read the required operands.
  if (!info || !info->flops || (node.is_opaque && info->infer)) return work;
  for (int i = 0; i < info->min_inputs; ++i) {
    const auto k = static_cast<size_t>(i);
    if (k >= inputs.size() || !inputs[k]) return work;
  }
  work.flops = info->flops(inputs, node.outputs[0].type, *node.attrs);
  return work;
}

}  // namespace xflowrl
