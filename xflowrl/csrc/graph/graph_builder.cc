#include "graph/graph_builder.h"

#include <algorithm>
#include <stdexcept>

#include "graph/canonical_attributes.h"

namespace xflowrl {
namespace {

[[noreturn]] void fail(const std::string& message) { throw std::invalid_argument(message); }

}  // namespace

GraphBuilder::GraphBuilder(std::string name) : edit_(Graph()) { edit_.set_name(std::move(name)); }

NameId GraphBuilder::define(const std::string& name) {
  if (name.empty()) fail("a tensor needs a name");
  if (tensors_.contains(name)) fail("tensor \"" + name + "\" is defined twice");
  names_.push_back(name);
  return static_cast<NameId>(names_.size()) - 1;
}

TensorRef GraphBuilder::find(const std::string& name, const std::string& reader) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end())
    fail(reader + " reads tensor \"" + name + "\", which nothing before it defines");
  return found->second;
}

void GraphBuilder::add_leaf(OpIndex op, const std::string& name, const TensorType& type,
                            std::shared_ptr<const Floats> values) {
  Node node;
  node.op = op;
  node.is_original = true;
  node.literal = std::move(values);
  Output output{type, {}, define(name)};
  if (op != kLiteralOp) output.value_id = Hasher(5).add(op).add(std::string_view(name)).done();
  node.outputs.push_back(output);
  tensors_[name] = {edit_.add_inheriting(std::move(node)), 0};
}

void GraphBuilder::add_input(const std::string& name, const TensorType& type) {
  add_leaf(kInputOp, name, type, nullptr);
  edit_.add_graph_input(tensors_[name].node);
}

void GraphBuilder::add_weight(const std::string& name, const TensorType& type) {
  add_leaf(kWeightOp, name, type, nullptr);
}

void GraphBuilder::add_literal(const std::string& name, const TensorType& type, Floats values) {
  if (type.num_elements() > kMaxLiteral ||
      type.num_elements() != static_cast<int64_t>(values.size()))
    fail("literal \"" + name + "\" has " + std::to_string(values.size()) + " values for type " +
         type.text() + "; at most " + std::to_string(kMaxLiteral) + " elements are allowed");
  add_leaf(kLiteralOp, name, type, std::make_shared<const Floats>(std::move(values)));
}

void GraphBuilder::add_node(const std::string& op_type, const std::string& domain,
                            const std::vector<std::string>& inputs,
                            const std::vector<std::string>& outputs, std::vector<Attrs::Item> attrs,
                            const std::optional<std::vector<TensorType>>& output_types,
                            bool is_opaque) {
  const auto first = std::find_if(outputs.begin(), outputs.end(),
                                  [](const std::string& name) { return !name.empty(); });
  const std::string label = first == outputs.end() ? "" : *first;
  const std::string what = "node \"" + label + "\" (" + op_type + ")";
  if (label.empty()) fail(what + " has no named output");
  Node node;
  node.is_original = true;
  node.op = domain.empty() ? find_operator(op_type) : kUnknownOp;
  if (node.op >= 0 && node.op < kFirstOperator) node.op = kUnknownOp;
  if (node.op == kUnknownOp)
    node.custom = std::make_shared<const CustomOp>(CustomOp{domain, op_type});
  node.is_opaque = is_opaque || node.op == kUnknownOp || !operator_info(node.op).infer;
  std::vector<Operand> operands;
  for (const std::string& name : inputs) {
    node.inputs.push_back(name.empty() ? TensorRef{} : find(name, what));
    operands.push_back(name.empty() ? Operand{} : Operand{&edit_.graph().type(node.inputs.back())});
  }
  // Trailing omitted operands mean nothing; without them equal nodes look equal.
  while (!node.is_opaque && !node.inputs.empty() && node.inputs.back().node == kNoNode)
    node.inputs.pop_back(), operands.pop_back();
  std::vector<TensorType> inferred;
  try {
    node.attrs = node.is_opaque ? Attrs::make(std::move(attrs))
                                : canonical_attributes(node.op, std::move(attrs));
    if (!node.is_opaque) {
      if (const char* error = infer_types(node.op, operands, *node.attrs, inferred)) fail(error);
    }
  } catch (const std::invalid_argument& error) {
    std::string given;
    for (const Operand& operand : operands)
      given += (given.empty() ? "" : ", ") + (operand ? operand->text() : std::string("none"));
    fail(what + ": " + error.what() + " (operands " + given + ")");
  }
  const std::vector<TensorType>* final_types = output_types ? &*output_types : &inferred;
  if (!output_types && node.is_opaque)
    fail(what + " needs output types: the engine cannot infer them");
  if (final_types->size() != outputs.size())
    fail(what + " has " + std::to_string(outputs.size()) + " outputs but " +
         std::to_string(final_types->size()) + " types");
  for (size_t i = 0; !node.is_opaque && i < outputs.size(); ++i) {
    if ((*final_types)[i] != inferred[i])
      fail(what + ": output \"" + outputs[i] + "\" is declared " + (*final_types)[i].text() +
           " but is " + inferred[i].text());
  }
  // All names are looked at before any is taken, so that a refused node leaves no trace.
  std::vector<std::string> full_names;
  for (size_t i = 0; i < outputs.size(); ++i) {
    // An output nobody named still has a place; a name of its own keeps names unique.
    full_names.push_back(outputs[i].empty() ? label + "#" + std::to_string(i) : outputs[i]);
    const bool repeated = std::count(full_names.begin(), full_names.end(), full_names[i]) > 1;
    if (repeated || tensors_.contains(full_names[i]))
      fail("tensor \"" + full_names[i] + "\" is defined twice");
  }
  for (size_t i = 0; i < outputs.size(); ++i)
    node.outputs.push_back({(*final_types)[i], {}, define(full_names[i])});
  const NodeId id = edit_.add(std::move(node));
  for (size_t i = 0; i < outputs.size(); ++i)
    tensors_[full_names[i]] = {id, static_cast<int32_t>(i)};
}

void GraphBuilder::set_outputs(const std::vector<std::string>& names,
                               const std::vector<std::string>& tensors) {
  if (names.size() != tensors.size()) fail("set_outputs needs as many names as tensors");
  if (has_outputs_) fail("set_outputs was called before");
  for (size_t i = 0; i < names.size(); ++i) {
    if (std::find(names.begin(), names.begin() + static_cast<long>(i), names[i]) !=
        names.begin() + static_cast<long>(i))
      fail("output \"" + names[i] + "\" is named twice");
  }
  if (names.empty()) fail("graph \"" + edit_.graph().name() + "\" needs at least one output");
  for (size_t i = 0; i < names.size(); ++i)
    edit_.add_graph_output(find(tensors[i], "output \"" + names[i] + "\""), names[i]);
  has_outputs_ = true;
}

Graph GraphBuilder::build() {
  if (is_built_) fail("this builder has built its graph; make a new GraphBuilder");
  if (!has_outputs_)
    fail("graph \"" + edit_.graph().name() + "\" has no outputs; call set_outputs");
  is_built_ = true;
  edit_.set_names(names_);
  for (size_t i = 0; i < edit_.graph().num_slots(); ++i)
    edit_.remove_if_dead(static_cast<NodeId>(i));
  return edit_.finish();
}

}  // namespace xflowrl
