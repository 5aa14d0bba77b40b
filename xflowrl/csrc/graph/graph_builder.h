// Builds a graph by tensor names, checking everything a caller can get wrong.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "graph/graph_edit.h"

namespace xflowrl {

// All member functions throw std::invalid_argument naming the node or tensor at fault.
class GraphBuilder {
 public:
  explicit GraphBuilder(std::string name);

  void add_input(const std::string& name, const TensorType& type);
  void add_weight(const std::string& name, const TensorType& type);
  void add_literal(const std::string& name, const TensorType& type, Floats values);
  // `output_types`: inferred if not given. `is_opaque`: the form is not canonical; `attrs` are kept
  // as they are.
  void add_node(const std::string& op_type, const std::string& domain,
                const std::vector<std::string>& inputs, const std::vector<std::string>& outputs,
                std::vector<Attrs::Item> attrs,
                const std::optional<std::vector<TensorType>>& output_types, bool is_opaque);
  // names[i] is the public name of the output that reads tensors[i].
  void set_outputs(const std::vector<std::string>& names, const std::vector<std::string>& tensors);
  void price_at(PricedSizes sizes) { edit_.price_at(std::move(sizes)); }
  Graph build();

 private:
  void add_leaf(OpIndex op, const std::string& name, const TensorType& type,
                std::shared_ptr<const Floats> values);
  NameId define(const std::string& name);
  TensorRef find(const std::string& name, const std::string& reader) const;

  GraphEdit edit_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, TensorRef> tensors_;
  bool has_outputs_ = false, is_built_ = false;
};

}  // namespace xflowrl
