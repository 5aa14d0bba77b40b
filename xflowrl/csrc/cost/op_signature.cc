#include "cost/op_signature.h"

#include <memory>

namespace xflowrl {
namespace {

std::string signature_text(const Node& node, OperandTypes inputs,
                           std::span<const bool> is_constant) {
  std::string text;
  if (node.custom && !node.custom->domain.empty()) text = node.custom->domain + "::";
  text += std::string(node.op_type()) + "(";
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (i) text += ", ";
    text += !inputs[i] ? "none" : (is_constant[i] ? "const " : "") + inputs[i]->text();
  }
  text += ") -> ";
  for (size_t i = 0; i < node.outputs.size(); ++i)
    text += (i ? ", " : "") + node.outputs[i].type.text();
  if (node.is_opaque) text += " opaque";
  const std::string attrs = node.attrs->text();
  return attrs.empty() ? text : text + " {" + attrs + "}";
}

}  // namespace

std::vector<const TensorType*> OpSignature::types() const {
  std::vector<const TensorType*> pointers;
  for (const auto& type : input_types) pointers.push_back(type ? &*type : nullptr);
  return pointers;
}

std::string OpSignature::key() const {
  const std::unique_ptr<bool[]> flags = std::make_unique<bool[]>(is_constant.size());
  for (size_t i = 0; i < is_constant.size(); ++i) flags[i] = is_constant[i] != 0;
  return signature_text(node, types(), {flags.get(), is_constant.size()});
}

OpSignature make_signature(const Graph& graph, NodeId id) {
  OpSignature signature;
  signature.node = graph.node(id);
  for (const TensorRef& t : signature.node.inputs) {
    const bool present = t.node != kNoNode;
    signature.input_types.push_back(present ? std::optional(graph.type(t)) : std::nullopt);
    signature.is_constant.push_back(present && graph.is_constant(t) ? 1 : 0);
  }
  return signature;
}

}  // namespace xflowrl
