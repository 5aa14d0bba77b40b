#include "cost/op_signature.h"

namespace xflowrl {

OpSignature::OpSignature(const Node& of, Operands inputs) : node(of) {
  for (const Operand& operand : inputs) {
    input_types.push_back(operand ? std::optional(*operand) : std::nullopt);
    input_is_constant.push_back(operand.is_constant);
  }
}

std::vector<Operand> OpSignature::operands() const {
  std::vector<Operand> result;
  for (size_t i = 0; i < input_types.size(); ++i)
    result.push_back({input_types[i] ? &*input_types[i] : nullptr, input_is_constant[i]});
  return result;
}

std::string OpSignature::key() const {
  std::string text;
  if (node.custom && !node.custom->domain.empty()) text = node.custom->domain + "::";
  text += std::string(node.op_type()) + "(";
  for (size_t i = 0; i < input_types.size(); ++i) {
    if (i) text += ", ";
    text +=
        !input_types[i] ? "none" : (input_is_constant[i] ? "const " : "") + input_types[i]->text();
  }
  text += ") -> ";
  for (size_t i = 0; i < node.outputs.size(); ++i)
    text += (i ? ", " : "") + node.outputs[i].type.text();
  if (node.is_opaque) text += " opaque";
  const std::string attrs = node.attrs->text();
  return attrs.empty() ? text : text + " {" + attrs + "}";
}

}  // namespace xflowrl
