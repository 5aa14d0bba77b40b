// The key under which the cost of an operator is kept.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cost/work.h"

namespace xflowrl {

// An operator with the types and constness of its operands, apart from any graph.
struct OpSignature {
  Node node;
  std::vector<std::optional<TensorType>> input_types;
  std::vector<bool> input_is_constant;

  OpSignature(const Node& of, Operands inputs);
  NodeWork work() const { return node_work(node, operands()); }
  // Text that is stable across processes and versions: the key of a cost database.
  std::string key() const;

 private:
  std::vector<Operand> operands() const;
};

}  // namespace xflowrl
