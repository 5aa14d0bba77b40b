#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>

#include "bind/bind.h"
#include "bind/bind_types.h"
#include "cost/op_signature.h"
#include "graph/graph_edit.h"

namespace nb = nanobind;

namespace xflowrl {
namespace {

nb::tuple shape_to_python(const TensorType& type) {
  return nb::tuple(nb::cast(type.shape_vector()));
}

TensorType find_type(const Graph& graph, const std::string& name) {
  const auto tensor = graph.find(name);
  if (!tensor)
    throw std::invalid_argument("graph \"" + graph.name() + "\" has no tensor \"" + name + "\"");
  return graph.type(*tensor);
}

// Live leaves of one kind, in order of creation.
std::vector<NodeId> leaves(const Graph& graph, OpIndex op) {
  std::vector<NodeId> ids;
  for (size_t i = 0; i < graph.num_slots(); ++i) {
    const auto id = static_cast<NodeId>(i);
    if (graph.is_live(id) && graph.node(id).op == op) ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end(),
            [&](NodeId a, NodeId b) { return graph.node(a).created < graph.node(b).created; });
  return ids;
}

std::vector<NodeView> nodes(const Graph& graph) {
  std::vector<NodeView> views;
  const auto shared = std::make_shared<const Graph>(graph);
  for (const NodeId id : graph.topological_order()) {
    if (!graph.node(id).is_leaf()) views.push_back({shared, id});
  }
  return views;
}

std::string leaf_name(const Graph& graph, NodeId id) { return graph.tensor_name({id, 0}); }

void bind_tensor_type(nb::module_& m) {
  bind_shared<TensorType>(m, "TensorType",
                          "Element type and static shape of a tensor; no data. Hashable.\n\n"
                          "Raises ValueError for an unknown element type, more than 8 dimensions, "
                          "or a size that is negative or\n"
                          "too large to count elements.")
      .def(
          "__init__",
          [](TensorType* self, const std::string& dtype, const std::vector<int64_t>& shape) {
            new (self) TensorType(parse_dtype(dtype), shape);
          },
          nb::arg("dtype"), nb::arg("shape"))
      .def_prop_ro(
          "dtype", [](const TensorType& t) { return dtype_name(t.dtype); },
          "Element type by its NumPy name: \"float32\", \"bfloat16\", \"int4\".")
      .def_prop_ro("shape", shape_to_python, nb::sig("def shape(self) -> tuple[int, ...]"),
                   "Sizes of the dimensions.")
      .def_prop_ro("num_elements", &TensorType::num_elements,
                   "The product of the shape; 1 for a scalar.")
      .def_prop_ro(
          "num_bytes", [](const TensorType& t) { return static_cast<int64_t>(t.num_bytes()); },
          "Size of the data; half bytes of 4-bit types are rounded down.")
      .def("__eq__", [](const TensorType& a, const TensorType& b) { return a == b; })
      .def("__eq__", [](const TensorType&, nb::object) { return false; })
      .def("__hash__",
           [](const TensorType& t) {
             Hasher hasher(0);
             t.hash_into(hasher);
             return hasher.done().lo >> 1;
           })
      .def("__repr__", &TensorType::text)
      .def("__reduce__", [](nb::handle self) {
        const auto& t = nb::cast<const TensorType&>(self);
        return nb::make_tuple(self.type(), nb::make_tuple(dtype_name(t.dtype), t.shape_vector()));
      });
}

void bind_node(nb::module_& m) {
  bind_shared<NodeView>(
      m, "Node",
      "A read-only view of one operator of a graph, which it keeps alive. Cannot be pickled.")
      .def_prop_ro(
          "id", [](const NodeView& v) { return v.id; },
          "Slot in the graph; the same while rewrites leave the node alone, then used again.")
      .def_prop_ro(
          "op_type", [](const NodeView& v) { return std::string(v.node().op_type()); },
          "The ONNX operator.")
      .def_prop_ro(
          "domain",
          [](const NodeView& v) { return v.node().custom ? v.node().custom->domain : ""; },
          "The operator set; \"\" is ONNX's own.")
      .def_prop_ro(
          "inputs",
          [](const NodeView& v) {
            std::vector<std::string> names;
            for (const TensorRef& t : v.node().inputs)
              names.push_back(t.node == kNoNode ? "" : v.graph->tensor_name(t));
            return names;
          },
          "Tensor names; \"\" is an omitted optional operand.")
      .def_prop_ro(
          "outputs",
          [](const NodeView& v) {
            std::vector<std::string> names;
            for (const Output& o : v.node().outputs) names.push_back(v.graph->name_of(o.name));
            return names;
          },
          "Tensor names, in the operator's order.")
      .def_prop_ro(
          "input_types",
          [](const NodeView& v) {
            std::vector<std::optional<TensorType>> types;
            for (const TensorRef& t : v.node().inputs)
              types.push_back(t.node == kNoNode ? std::nullopt : std::optional(v.graph->type(t)));
            return types;
          },
          "One for each of `inputs`; None where the operand is omitted.")
      .def_prop_ro(
          "output_types",
          [](const NodeView& v) {
            std::vector<TensorType> types;
            for (const Output& o : v.node().outputs) types.push_back(o.type);
            return types;
          },
          "One for each of `outputs`.")
      .def_prop_ro(
          "attributes", [](const NodeView& v) { return attrs_to_python(*v.node().attrs); },
          "By name: int, float, str, bytes (a serialised AttributeProto) or a list; of "
          "an operator that is not opaque in canonical form, defaults filled in.")
      .def_prop_ro(
          "is_constant", [](const NodeView& v) { return v.node().is_constant; },
          "Depends on constants alone: costs nothing and is folded at export.")
      .def_prop_ro(
          "is_opaque", [](const NodeView& v) { return v.node().is_opaque; },
          "Not in canonical form: kept and priced, matched by no rule.")
      .def_prop_ro(
          "signature",
          [](const NodeView& v) { return OpSignature(v.node(), v.graph->operands(v.node())); },
          "The key of its cost.")
      .def("__repr__", [](const NodeView& v) {
        return "Node(" + std::string(v.node().op_type()) + " " +
               v.graph->name_of(v.node().outputs[0].name) + ")";
      });
}

void bind_signature(nb::module_& m) {
  bind_pickled<OpSignature>(
      m, "OpSignature",
      "An operator with the types and constness of its operands: the key of its cost.")
      .def_prop_ro(
          "op_type", [](const OpSignature& s) { return std::string(s.node.op_type()); },
          "The ONNX operator.")
      .def_prop_ro(
          "domain", [](const OpSignature& s) { return s.node.custom ? s.node.custom->domain : ""; },
          "The operator set; \"\" is ONNX's own.")
      .def_prop_ro(
          "attributes", [](const OpSignature& s) { return attrs_to_python(*s.node.attrs); },
          "As `Node.attributes`.")
      .def_prop_ro(
          "is_opaque", [](const OpSignature& s) { return s.node.is_opaque; },
          "As `Node.is_opaque`.")
      .def_prop_ro(
          "input_types", [](const OpSignature& s) { return s.input_types; },
          "One for each operand; None where it is omitted.")
      .def_prop_ro(
          "input_is_constant", [](const OpSignature& s) { return s.input_is_constant; },
          "Whether each operand depends on constants alone; False where it is omitted.")
      .def_prop_ro(
          "output_types",
          [](const OpSignature& s) {
            std::vector<TensorType> types;
            for (const Output& o : s.node.outputs) types.push_back(o.type);
            return types;
          },
          "One for each output.")
      .def_prop_ro(
          "flops", [](const OpSignature& s) { return s.work().flops; },
          "Floating-point operations; 0 where they are not counted.")
      .def_prop_ro(
          "bytes", [](const OpSignature& s) { return s.work().bytes; },
          "Bytes of all operands, weights included, and outputs.")
      .def_prop_ro("key", &OpSignature::key, "Canonical text, equal in every process.")
      .def("__repr__", &OpSignature::key);
}

void bind_graph_class(nb::module_& m) {
  bind_pickled<Graph>(m, "Graph",
                      "An immutable network: a DAG of operators. Holds no weights.\n\n"
                      "Pickled in about 100 bytes a node, exactly as it is: names, order, creation "
                      "numbers and value ids.")
      .def_prop_ro("name", &Graph::name, "The network's name.")
      .def_prop_ro(
          "inputs",
          [](const Graph& g) {
            std::vector<std::string> names;
            for (NodeId id : g.inputs()) names.push_back(leaf_name(g, id));
            return names;
          },
          "Names of the inputs in the model's order; none is ever removed.")
      .def_prop_ro(
          "outputs",
          [](const Graph& g) {
            std::vector<std::string> names;
            for (const GraphOutput& o : g.outputs()) names.push_back(o.name);
            return names;
          },
          "Public names; they survive every rewrite.")
      .def_prop_ro(
          "output_tensors",
          [](const Graph& g) {
            std::vector<std::string> names;
            for (const GraphOutput& o : g.outputs()) names.push_back(g.tensor_name(o.tensor));
            return names;
          },
          "The tensor that each output reads.")
      .def_prop_ro(
          "weights",
          [](const Graph& g) {
            nb::dict dict;
            for (NodeId id : leaves(g, kWeightOp))
              dict[nb::cast(leaf_name(g, id))] = nb::cast(g.type({id, 0}));
            return dict;
          },
          nb::sig("def weights(self) -> dict[str, TensorType]"),
          "Types of the constants whose values lie outside the graph, by name, in order "
          "of creation.")
      .def_prop_ro(
          "literals",
          [](const Graph& g) {
            nb::dict dict;
            for (NodeId id : leaves(g, kLiteralOp))
              dict[nb::cast(leaf_name(g, id))] =
                  nb::make_tuple(g.type({id, 0}), *g.node(id).literal);
            return dict;
          },
          nb::sig("def literals(self) -> dict[str, tuple[TensorType, list[float]]]"),
          "Constants of at most 64 elements that are part of the graph: type and values, "
          "flattened, by name in order of creation.")
      .def("nodes", &nodes, "Operators in topological order, those of constants included.")
      .def("tensor_type", &find_type, nb::arg("name"),
           "The type of a tensor, leaves included. Linear in the graph's size.\n\n"
           "Raises ValueError if there is no tensor of that name.")
      .def_prop_ro(
          "hash", [](const Graph& g) { return g.hash().hex(); },
          "128 bits in hexadecimal: equal for graphs that compute equal values by equal "
          "nodes.\n\n"
          "It does not depend on order or process, and is kept up to date by every "
          "rewrite. A tensor that a\n"
          "rewrite replaces hands its id on, so equal structures reached on different "
          "ways may differ.")
      .def_prop_ro(
          "merkle_hash", [](const Graph& g) { return g.merkle_hash().hex(); },
          "128 bits in hexadecimal of what the outputs compute, by structure and names of leaves "
          "alone.\n\nLinear in the graph's size.")
      .def("made_names", &Graph::made_names, nb::arg("since") = 0,
           "Names that rewrites have made on the way to this graph, in order, without the first "
           "`since`.")
      .def_prop_ro("num_nodes", &Graph::num_nodes,
                   "Number of nodes, leaves and operators on constants included; `len` leaves "
                   "both out.")
      .def("__len__", &Graph::num_operators)
      .def("__repr__", [](const Graph& g) {
        return "Graph(" + g.name() + ", " + std::to_string(g.num_operators()) + " operators)";
      });
}

}  // namespace

void bind_graph(nb::module_& m) {
  bind_tensor_type(m);
  bind_signature(m);
  bind_node(m);
  bind_graph_class(m);
}

}  // namespace xflowrl
