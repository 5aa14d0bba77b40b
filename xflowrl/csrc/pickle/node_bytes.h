// Types and nodes as bytes: what the pickles of graphs and of signatures have in common.
#pragma once

#include "graph/graph.h"
#include "pickle/bytes.h"

namespace xflowrl {

// A graph goes on numbering its nodes from where it was; this is far from overflow.
inline constexpr int64_t kMaxCreated = int64_t{1} << 30;

void write_type(ByteWriter& w, const TensorType& type);
TensorType read_type(ByteReader& r);
// A node without its operands and what follows from them.
void write_operator(ByteWriter& w, const Node& node);
Node read_operator(ByteReader& r);
// Throws unless the node is one that GraphBuilder or a rewrite can make of such operands.
void check_node(const ByteReader& r, const Node& node, Operands operands);

}  // namespace xflowrl
