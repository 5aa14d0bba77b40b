// Building graphs from Python, and what the operator table says.
#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bind/bind.h"
#include "bind/bind_types.h"
#include "graph/canonical_attributes.h"
#include "graph/graph_builder.h"

namespace nb = nanobind;

namespace xflowrl {
namespace {

AttrValue attr_from_python(const std::string& name, nb::handle value) {
  if (nb::isinstance<nb::bool_>(value)) return static_cast<int64_t>(nb::cast<bool>(value));
  if (nb::isinstance<nb::int_>(value)) {
    int64_t whole = 0;
    if (!nb::try_cast(value, whole))
      throw std::invalid_argument("attribute \"" + name + "\" does not fit 64 bits");
    return whole;
  }
  if (nb::isinstance<nb::float_>(value)) return nb::cast<double>(value);
  if (nb::isinstance<nb::str>(value)) return nb::cast<std::string>(value);
  if (nb::isinstance<nb::bytes>(value)) {
    const auto bytes = nb::cast<nb::bytes>(value);
    return Blob{std::string(bytes.c_str(), bytes.size())};
  }
  Ints ints;
  Floats floats;
  Strings strings;
  for (nb::handle element : value) {
    if (nb::isinstance<nb::str>(element)) {
      strings.push_back(nb::cast<std::string>(element));
    } else {
      int64_t whole = 0;
      double real = 0;
      if (!nb::try_cast(element, real))
        throw std::invalid_argument("attribute \"" + name + "\" is no list of numbers or strings");
      floats.push_back(real);
      if (!nb::isinstance<nb::int_>(element)) continue;
      if (!nb::try_cast(element, whole))
        throw std::invalid_argument("attribute \"" + name + "\" does not fit 64 bits");
      ints.push_back(whole);
    }
  }
  if (!strings.empty()) return strings;
  if (ints.size() == floats.size()) return ints;
  if (ints.empty()) return floats;
  throw std::invalid_argument("attribute \"" + name + "\" mixes integers and floats");
}

std::vector<Attrs::Item> attrs_from_python(const nb::dict& dict) {
  std::vector<Attrs::Item> items;
  for (auto [key, value] : dict) {
    auto name = nb::cast<std::string>(key);
    AttrValue converted = attr_from_python(name, value);
    items.emplace_back(std::move(name), std::move(converted));
  }
  return items;
}

void bind_graph_builder(nb::module_& m) {
  nb::class_<GraphBuilder>(
      m, "GraphBuilder",
      "Builds a Graph by tensor names, operands before their readers. Cannot be pickled.")
      .def(nb::init<std::string>(), nb::arg("name") = "graph")
      .def(
          "add_input",
          [](GraphBuilder& b, const std::string& name, const TensorType& type) {
            b.add_input(name, type);
            return name;
          },
          nb::arg("name"), nb::arg("type"),
          "Adds an input of the network; returns its name.\n\n"
          "Raises ValueError if the name is empty or taken.")
      .def(
          "add_weight",
          [](GraphBuilder& b, const std::string& name, const TensorType& type) {
            b.add_weight(name, type);
            return name;
          },
          nb::arg("name"), nb::arg("type"),
          "Adds a constant whose value lies outside the graph; returns its name.\n\n"
          "Raises ValueError if the name is empty or taken.")
      .def(
          "add_literal",
          [](GraphBuilder& b, const std::string& name, const TensorType& type,
             const std::vector<double>& values) {
            b.add_literal(name, type, values);
            return name;
          },
          nb::arg("name"), nb::arg("type"), nb::arg("values"),
          "Adds a constant of at most 64 elements with its values, flattened; returns "
          "its name.\n\n"
          "Raises ValueError if the name is empty or taken, or the number of values is "
          "wrong.")
      .def(
          "add_node",
          [](GraphBuilder& b, const std::string& op_type, const std::vector<std::string>& inputs,
             const std::vector<std::string>& outputs, const nb::dict& attributes,
             const std::string& domain, const std::optional<std::vector<TensorType>>& output_types,
             bool opaque) {
            b.add_node(op_type, domain, inputs, outputs, attrs_from_python(attributes),
                       output_types, opaque);
            return outputs;
          },
          nb::arg("op_type"), nb::arg("inputs"), nb::arg("outputs"),
          nb::arg("attributes") = nb::dict(), nb::kw_only(), nb::arg("domain") = "",
          nb::arg("output_types") = nb::none(), nb::arg("opaque") = false,
          "Adds an operator; returns `outputs`.\n\nArgs:\n"
          "    inputs: names defined before; \"\" omits an optional operand.\n"
          "    outputs: new names; \"\" is an output nobody reads, and gets a name.\n"
          "    attributes: in canonical form, defaults may be left out; any, if opaque.\n"
          "    output_types: inferred if None, which an opaque operator does not allow.\n"
          "    opaque: keep it as it is; no rule matches it. So is every operator that "
          "the table does not have.\n\n"
          "Raises ValueError naming the node: an unknown or taken name, attributes or "
          "operands that do not\n"
          "fit the operator, other types than it has. The builder stays as it was.")
      .def(
          "set_outputs",
          [](GraphBuilder& b, const std::vector<std::string>& names,
             const std::optional<std::vector<std::string>>& tensors) {
            b.set_outputs(names, tensors ? *tensors : names);
          },
          nb::arg("names"), nb::arg("tensors") = nb::none(),
          "Declares the outputs, once: `names` are public, `tensors` (None: the same) "
          "what they read.\n\n"
          "Raises ValueError for a tensor that does not exist, a repeated name, or none "
          "at all.")
      .def(
          "price_at",
          [](GraphBuilder& b, std::map<int64_t, int64_t> sizes,
             std::map<int64_t, int64_t> factors) {
            for (const auto* map : {&sizes, &factors}) {
              for (const auto& [size, priced] : *map) {
                if (size < 2 || priced < 0 || std::max(size, priced) > kMaxDimension)
                  throw std::invalid_argument("size " + std::to_string(size) + " priced as " +
                                              std::to_string(priced) +
                                              ": give sizes above 1, and prices at sizes >= 0");
              }
            }
            b.price_at({std::move(sizes), std::move(factors)});
          },
          nb::arg("sizes"), nb::arg("factors"),
          "Prices the graph at other sizes than it has, for dimensions that are dynamic.\n\n"
          "Args:\n"
          "    sizes: what a dimension of a size counts as.\n"
          "    factors: what each of these counts as in the other dimensions that it divides.\n\n"
          "Raises ValueError for a size below 2, or a price at one below 0.")
      .def("build", &GraphBuilder::build,
           "The graph, without nodes that nothing reads; the builder is used up.\n\n"
           "Raises ValueError without outputs or when called again.");
}

void bind_operators(nb::module_& m) {
  m.def(
      "infer_types",
      [](const std::string& op_type, const std::vector<std::optional<TensorType>>& inputs,
         const nb::dict& attributes) {
        const OpIndex op = find_operator(op_type);
        if (op < kFirstOperator)
          throw std::invalid_argument("the engine does not infer types of \"" + op_type + "\"");
        const AttrsPtr attrs = canonical_attributes(op, attrs_from_python(attributes));
        std::vector<Operand> operands;
        for (const auto& type : inputs) operands.push_back({type ? &*type : nullptr});
        std::vector<TensorType> outputs;
        if (const char* error = infer_types(op, operands, *attrs, outputs))
          throw std::invalid_argument(op_type + ": " + error);
        return outputs;
      },
      nb::arg("op_type"), nb::arg("input_types"), nb::arg("attributes") = nb::dict(),
      "The output types of an operator in canonical form.\n\n"
      "Raises ValueError if the engine does not infer this operator, or attributes "
      "or types do not fit it.");
  m.def(
      "inferable_operators",
      [] {
        std::vector<std::string> names;
        for (const OperatorInfo& info : operator_table().subspan(kFirstOperator)) {
          if (info.infer) names.push_back(info.name);
        }
        return names;
      },
      "Operators whose types the engine infers, in the table's order; all others are "
      "opaque.");
  m.def(
      "canonical_attributes",
      [](const std::string& op_type) {
        const OpIndex op = find_operator(op_type);
        if (op < kFirstOperator)
          throw std::invalid_argument("unknown operator \"" + op_type + "\"");
        nb::dict dict;
        for (const AttrSpec& spec : operator_info(op).attributes)
          dict[spec.name.c_str()] =
              spec.default_value ? attr_to_python(*spec.default_value) : nb::none();
        return dict;
      },
      nb::arg("op_type"),
      "Attribute names and defaults of the canonical form; None: required.\n\n"
      "Raises ValueError for an operator that the table does not have.");
  m.def(
      "operator_names",
      [] {
        std::vector<std::string> names;
        for (const OperatorInfo& info : operator_table()) names.push_back(info.name);
        return names;
      },
      "The operator table, leaves first: what `node_op` of `State.observe` indexes.");
  m.def(
      "activation_names",
      [] { return std::vector<std::string>(activation_names().begin(), activation_names().end()); },
      "The fused activations; the first, \"\", is none.");
}

}  // namespace

void bind_builder(nb::module_& m) {
  bind_graph_builder(m);
  bind_operators(m);
}

}  // namespace xflowrl
