// Views of engine data that exist for Python alone.
#pragma once

#include <nanobind/nanobind.h>

#include <memory>

#include "graph/graph.h"

namespace xflowrl {

// A node together with the graph that keeps it alive.
struct NodeView {
  std::shared_ptr<const Graph> graph;
  NodeId id;
  const Node& node() const { return graph->node(id); }
};

nanobind::object attr_to_python(const AttrValue& value);
nanobind::dict attrs_to_python(const Attrs& attrs);

}  // namespace xflowrl
