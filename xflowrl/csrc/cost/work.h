// FLOPs, bytes and kernels of one node.
#pragma once

#include "graph/graph.h"

namespace xflowrl {

struct NodeWork {
  double flops = 0;
  double bytes = 0;  // all operands and outputs, once
  Work kind = Work::kUnknown;
};

NodeWork node_work(const Node& node, Operands inputs);

}  // namespace xflowrl
