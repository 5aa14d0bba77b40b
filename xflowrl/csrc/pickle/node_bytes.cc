#include "pickle/node_bytes.h"

#include "graph/canonical_attributes.h"
#include "graph/infer.h"

namespace xflowrl {

void write_type(ByteWriter& w, const TensorType& type) {
  w.number(static_cast<int>(type.dtype));
  w.number(type.rank());
  for (const int64_t d : type.shape()) w.number(d);
}

TensorType read_type(ByteReader& r) {
  const auto dtype = static_cast<DType>(r.number(0, static_cast<int>(DType::kUnknown)));
  std::vector<int64_t> shape(r.count());
  for (int64_t& d : shape) d = r.number();
  return TensorType(dtype, shape);
}

namespace {

void write_element(ByteWriter& w, const Blob& blob) { w.text(blob.bytes); }
void read_element(ByteReader& r, Blob& blob) { blob.bytes = r.text(); }

template <size_t kIndex = 0>
AttrValue read_attr(ByteReader& r, size_t index) {
  if constexpr (kIndex == std::variant_size_v<AttrValue>) {
    r.check(false, "an attribute is of an unknown kind");
    return {};
  } else {
    if (index != kIndex) return read_attr<kIndex + 1>(r, index);
    std::variant_alternative_t<kIndex, AttrValue> value{};
    read_element(r, value);
    return value;
  }
}

void write_attrs(ByteWriter& w, const Attrs& attrs) {
  w.count(attrs.items().size());
  for (const auto& [name, value] : attrs.items()) {
    w.text(name);
    w.count(value.index());
    std::visit([&](const auto& v) { write_element(w, v); }, value);
  }
}

std::vector<Attrs::Item> read_attrs(ByteReader& r) {
  std::vector<Attrs::Item> items(r.count());
  for (auto& [name, value] : items) {
    name = r.text();
    value = read_attr(r, r.count());
  }
  return items;
}

}  // namespace

void write_operator(ByteWriter& w, const Node& node) {
  w.number(node.custom ? 1 : 0);
  if (node.custom) w.text(node.custom->domain);
  w.text(node.op_type());
  w.number(node.is_opaque);
  w.number(node.is_original);
  w.number(node.created);
  write_attrs(w, *node.attrs);
  if (node.op == kLiteralOp) write_element(w, *node.literal);
  w.count(node.outputs.size());
  for (const Output& output : node.outputs) {
    write_type(w, output.type);
    w.hash(output.value_id);
    w.number(output.name);
  }
}

Node read_operator(ByteReader& r) {
  Node node;
  if (r.flag()) {
    CustomOp custom{r.text(), {}};
    custom.op_type = r.text();
    node.custom = std::make_shared<const CustomOp>(std::move(custom));
  } else {
    node.op = find_operator(r.text());
    r.check(node.op != kUnknownOp, "an operator is not in the table");
  }
  node.is_opaque = r.flag();
  node.is_original = r.flag();
  node.created = static_cast<int32_t>(r.number(0, kMaxCreated));
  std::vector<Attrs::Item> attrs = read_attrs(r);
  node.attrs = node.op < kFirstOperator || node.is_opaque
                   ? Attrs::make(std::move(attrs))
                   : canonical_attributes(node.op, std::move(attrs));
  if (node.op == kLiteralOp) {
    Floats values;
    read_element(r, values);
    node.literal = std::make_shared<const Floats>(std::move(values));
  }
  node.outputs.resize(r.count());
  r.check(!node.outputs.empty(), "a node has no output");
  for (Output& output : node.outputs) {
    output.type = read_type(r);
    output.value_id = r.hash();
    output.name = r.number();
  }
  return node;
}

void check_node(const ByteReader& r, const Node& node, Operands operands) {
  if (node.is_leaf()) {
    r.check(operands.empty() && node.outputs.size() == 1 && !node.is_opaque &&
                node.attrs->items().empty(),
            "an input or constant is none");
    const int64_t size = node.outputs[0].type.num_elements();
    r.check(!node.literal || size == static_cast<int64_t>(node.literal->size()),
            "a literal has another size");
    return;
  }
  const bool is_canonical = node.op >= 0 && operator_info(node.op).infer;
  r.check(is_canonical || node.is_opaque, "an operator is not marked as opaque");
  if (node.is_opaque) return;
  std::vector<TensorType> types;
  const char* error = infer_types(node.op, operands, *node.attrs, types);
  r.check(!error, error);
  const auto has_type = [](const Output& o, const TensorType& type) { return o.type == type; };
  r.check(
      std::equal(node.outputs.begin(), node.outputs.end(), types.begin(), types.end(), has_type),
      "an operator does not compute the types it declares");
}

}  // namespace xflowrl
