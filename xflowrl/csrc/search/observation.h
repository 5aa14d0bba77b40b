// A state as flat arrays: the input of the feature table.
#pragma once

#include <cstdint>
#include <vector>

#include "search/state.h"

namespace xflowrl {

// Rows of nodes are the live nodes that depend on an input, graph inputs included, by creation.
struct Observation {
  static constexpr size_t kShapeColumns = 4;  // right-aligned, padded with 1 on the left

  std::vector<int32_t> node_op;  // index into the operator table; its size for other operators
  std::vector<double> node_flops, node_bytes, node_cost_ms;
  std::vector<int32_t> node_num_constants;  // constant operands
  std::vector<int32_t> node_activation;     // index into the fused activations
  std::vector<uint8_t> node_is_output;
  std::vector<int64_t> node_shape;  // of the first output
  std::vector<int32_t> edge_src, edge_dst, edge_operand;
  std::vector<int64_t> edge_shape;
  std::vector<int32_t> match_rule, match_size, match_kernels;
  std::vector<double> match_cost_ms, match_flops, match_bytes;
  std::vector<int32_t> match_node_ptr, match_node;  // rows of match i: [ptr[i], ptr[i+1])
};

Observation make_observation(const State& state);

}  // namespace xflowrl
