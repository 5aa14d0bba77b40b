#include "pickle/pickling.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include "graph/graph_edit.h"
#include "pickle/node_bytes.h"
#include "rule/rule_parser.h"

namespace xflowrl {
namespace {

constexpr int kFormat = 1;  // raise it when what is written changes
// Of names that rewrites made: far from overflow.
constexpr int64_t kMaxGenerated = int64_t{1} << 60;

size_t at(int64_t i) { return static_cast<size_t>(i); }

// --- tensors and slots ---------------------------------------------------------------------------

int32_t read_index(ByteReader& r) {
  return static_cast<int32_t>(r.number(-1, std::numeric_limits<int32_t>::max()));
}

std::vector<NodeId> read_slots(ByteReader& r) {
  std::vector<NodeId> slots(r.count());
  for (NodeId& id : slots) id = read_index(r);
  return slots;
}

void write_tensor(ByteWriter& w, const TensorRef& t) { w.number(t.node), w.number(t.output); }

// An output of a node that is there already, or no tensor.
TensorRef read_tensor(ByteReader& r, const Graph& graph) {
  const TensorRef t{read_index(r), read_index(r)};
  if (t.node == kNoNode) {
    r.check(t.output == 0, "an omitted operand is an output");
    return t;
  }
  r.check(at(t.node) < graph.num_slots() && graph.is_live(t.node), "a node is read before it is");
  r.check(t.output >= 0 && at(t.output) < graph.node(t.node).outputs.size(),
          "an output that is read does not exist");
  return t;
}

template <class T>
bool are_distinct(const std::vector<T>& values) {
  return std::set<T>(values.begin(), values.end()).size() == values.size();
}

}  // namespace

// Sees what the classes keep to themselves.
struct Pickle {
  static void write(ByteWriter& w, const OpSignature& signature);
  static void write(ByteWriter& w, const Rule& rule);
  static void write(ByteWriter& w, const RuleSet& set);
  static void write(ByteWriter& w, const CostTable& table);
  static void write(ByteWriter& w, const Graph& graph);
  template <class T>
  static T read(ByteReader& r);
};

// --- signatures ----------------------------------------------------------------------------------

void Pickle::write(ByteWriter& w, const OpSignature& signature) {
  write_operator(w, signature.node);
  w.count(signature.input_types.size());
  for (size_t i = 0; i < signature.input_types.size(); ++i) {
    w.number(!signature.input_types[i] ? 0 : signature.input_is_constant[i] ? 1 : 2);
    if (signature.input_types[i]) write_type(w, *signature.input_types[i]);
  }
}

template <>
OpSignature Pickle::read<OpSignature>(ByteReader& r) {
  Node node = read_operator(r);
  std::vector<TensorType> types(r.count());
  std::vector<Operand> operands;
  for (TensorType& type : types) {
    const int64_t kind = r.number(0, 2);
    if (kind) type = read_type(r);
    operands.push_back({kind ? &type : nullptr, kind == 1});
  }
  check_node(r, node, operands);
  sign(node, operands);
  return OpSignature(node, operands);
}

// --- rules ---------------------------------------------------------------------------------------

void Pickle::write(ByteWriter& w, const Rule& rule) {
  w.text(rule.text);
  w.text(rule.name);
  w.text(rule.filename);
  w.number(rule.line);
  w.number(rule.matches_constants);
}

template <>
Rule Pickle::read<Rule>(ByteReader& r) {
  const std::string text = r.text(), name = r.text(), filename = r.text();
  const auto rules = parse_rules(text, filename)->rules;
  r.check(rules.size() == 1 && rules[0]->name == name, "a text is not the rule's");
  Rule rule = *rules[0];
  rule.line = static_cast<int>(r.number(0, std::numeric_limits<int>::max()));
  rule.matches_constants = r.flag();
  return rule;
}

void Pickle::write(ByteWriter& w, const RuleSet& set) {
  w.text(set.name);
  w.number(set.is_commutative);
  w.number(set.is_faithful);
  w.number(set.opset);
  w.count(set.rules.size());
  for (const auto& rule : set.rules) write(w, *rule);
}

template <>
RuleSet Pickle::read<RuleSet>(ByteReader& r) {
  RuleSet set;
  set.name = r.text();
  set.is_commutative = r.flag();
  set.is_faithful = r.flag();
  set.opset = static_cast<int>(r.number(0, std::numeric_limits<int>::max()));
  for (size_t left = r.count(); left > 0; --left)
    set.rules.push_back(std::make_shared<const Rule>(read<Rule>(r)));
  return set;
}

// --- costs ---------------------------------------------------------------------------------------

void Pickle::write(ByteWriter& w, const CostTable& table) {
  w.number(static_cast<int>(table.kind_));
  w.real(table.flops_per_s_), w.real(table.bytes_per_s_), w.real(table.overhead_ms_);
  w.count(table.correction_.size());
  for (const auto& [op_class, factor] : table.correction_) w.text(op_class.name()), w.real(factor);
  // Sorted, so that equal tables are equal bytes.
  const std::map<std::string, double> known(table.known_by_key_.begin(), table.known_by_key_.end());
  w.count(known.size());
  for (const auto& [key, ms] : known) w.text(key), w.real(ms);
  w.count(table.unknown_.size());
  for (const OpSignature& signature : table.unknown_) write(w, signature);
}

template <>
CostTable Pickle::read<CostTable>(ByteReader& r) {
  using Kind = CostTable::Kind;
  const auto kind = static_cast<Kind>(r.number(0, static_cast<int>(Kind::kMeasured)));
  const double flops_per_s = r.real(), bytes_per_s = r.real(), overhead_ms = r.real();
  Correction correction;
  for (size_t left = r.count(); left > 0; --left) {
    const OpClass op_class = find_op_class(r.text());
    correction[op_class] = r.real();
  }
  CostTable table(kind, flops_per_s, bytes_per_s, overhead_ms, std::move(correction));
  for (size_t left = r.count(); left > 0; --left) {
    const std::string key = r.text();
    table.known_by_key_[key] = r.real();
  }
  for (size_t left = r.count(); left > 0; --left) {
    OpSignature signature = read<OpSignature>(r);
    table.unknown_keys_.emplace(signature.node.signature, signature.key());
    table.unknown_.push_back(std::move(signature));
  }
  r.check(table.unknown_keys_.size() == table.unknown_.size(), "a price is asked for twice");
  return table;
}

// --- graphs --------------------------------------------------------------------------------------

namespace {

void write_sizes(ByteWriter& w, const std::map<int64_t, int64_t>& sizes) {
  w.count(sizes.size());
  for (const auto& [size, priced] : sizes) w.number(size), w.number(priced);
}

std::map<int64_t, int64_t> read_sizes(ByteReader& r) {
  std::map<int64_t, int64_t> sizes;
  for (size_t left = r.count(); left > 0; --left) {
    const int64_t size = r.number(2, kMaxDimension);
    sizes[size] = r.number(0, kMaxDimension);
  }
  return sizes;
}

}  // namespace

void Pickle::write(ByteWriter& w, const Graph& graph) {
  w.text(graph.name_);
  w.number(graph.is_commutative_);
  w.number(graph.num_generated_);
  w.number(graph.next_created_);
  write_element(w, *graph.names_);
  const PricedSizes priced = graph.priced_sizes() ? *graph.priced_sizes() : PricedSizes{};
  write_sizes(w, priced.sizes);
  write_sizes(w, priced.factors);
  const std::vector<NodeId> order = graph.topological_order();
  write_element(w, Ints(order.begin(), order.end()));
  write_element(w, Ints(graph.free_slots_.begin(), graph.free_slots_.end()));
  for (const NodeId id : order) {
    const Node& node = graph.node(id);
    write_operator(w, node);
    w.count(node.inputs.size());
    for (const TensorRef& t : node.inputs) write_tensor(w, t);
  }
  write_element(w, Ints(graph.inputs_.begin(), graph.inputs_.end()));
  w.count(graph.outputs_.size());
  for (const GraphOutput& output : graph.outputs_) {
    write_tensor(w, output.tensor);
    w.text(output.name);
  }
  for (const NodeId id : order) {
    for (const Use& use : graph.uses(id))
      w.number(use.node), w.number(use.operand), w.number(use.output);
  }
}

template <>
Graph Pickle::read<Graph>(ByteReader& r) {
  Graph empty;
  empty.name_ = r.text();
  empty.is_commutative_ = r.flag();
  const NameId num_generated = r.number(0, kMaxGenerated);
  const auto next_created = static_cast<int32_t>(r.number(0, kMaxCreated));
  Strings names;
  read_element(r, names);
  r.check(are_distinct(names), "a name occurs twice");
  PricedSizes priced{read_sizes(r), read_sizes(r)};
  const std::vector<NodeId> order = read_slots(r), free_slots = read_slots(r);
  std::vector<NodeId> slots = order;
  slots.insert(slots.end(), free_slots.begin(), free_slots.end());
  std::sort(slots.begin(), slots.end());
  for (size_t i = 0; i < slots.size(); ++i)
    r.check(slots[i] == static_cast<NodeId>(i), "a slot is used twice or never");
  empty.slots_.resize(slots.size());
  empty.free_slots_.assign(order.rbegin(), order.rend());  // from whose end nodes take their slots

  GraphEdit edit(std::move(empty));
  if (!priced.sizes.empty() || !priced.factors.empty()) edit.price_at(std::move(priced));
  std::vector<int32_t> created;
  std::vector<NameId> used_names;
  size_t num_inputs = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    Node node = read_operator(r);
    node.inputs.resize(r.count());
    for (TensorRef& t : node.inputs) t = read_tensor(r, edit.graph());
    check_node(r, node, edit.graph().operands(node));
    created.push_back(node.created);
    for (const Output& output : node.outputs) used_names.push_back(output.name);
    num_inputs += node.op == kInputOp;
    edit.add_with_value_ids(std::move(node));
  }
  const auto is_made = [&](int32_t number) { return number < next_created; };
  r.check(std::all_of(created.begin(), created.end(), is_made) && are_distinct(created),
          "two nodes have one creation number");
  const auto is_named = [&](NameId name) {
    return -num_generated <= name && name < static_cast<NameId>(names.size());
  };
  r.check(std::all_of(used_names.begin(), used_names.end(), is_named) && are_distinct(used_names),
          "two tensors have one name");

  const std::vector<NodeId> inputs = read_slots(r);
  for (const NodeId id : inputs) {
    const bool is_input =
        at(id) < slots.size() && edit.graph().is_live(id) && edit.graph().node(id).op == kInputOp;
    r.check(is_input, "an input is none");
    edit.add_graph_input(id);
  }
  r.check(inputs.size() == num_inputs && are_distinct(inputs), "an input is missing");
  Strings output_names(r.count());
  for (std::string& name : output_names) {
    const TensorRef tensor = read_tensor(r, edit.graph());
    r.check(tensor.node != kNoNode, "an output has no tensor");
    name = r.text();
    edit.add_graph_output(tensor, name);
  }
  r.check(!output_names.empty() && are_distinct(output_names), "outputs need names of their own");
  edit.set_names(std::move(names));

  Graph graph = edit.finish();
  graph.free_slots_ = free_slots;
  graph.num_generated_ = num_generated;
  graph.next_created_ = next_created;
  for (const NodeId id : order) {
    std::vector<Use> found(graph.uses(id).begin(), graph.uses(id).end()), uses = found;
    for (Use& use : uses) use = {read_index(r), read_index(r), read_index(r)};
    auto sorted = uses;
    std::sort(sorted.begin(), sorted.end());
    std::sort(found.begin(), found.end());
    r.check(sorted == found, "a consumer is none");
    r.check(!found.empty() || graph.node(id).op == kInputOp, "nothing reads a node");
    graph.slots_.mut(at(id)).uses = std::make_shared<const std::vector<Use>>(std::move(uses));
  }
  return graph;
}

// --- bytes ---------------------------------------------------------------------------------------

namespace {

template <class T>
constexpr const char* kKind = nullptr;
template <>
constexpr const char* kKind<OpSignature> = "OpSignature";
template <>
constexpr const char* kKind<Rule> = "Rule";
template <>
constexpr const char* kKind<RuleSet> = "RuleSet";
template <>
constexpr const char* kKind<CostTable> = "CostTable";
template <>
constexpr const char* kKind<Graph> = "Graph";

}  // namespace

template <class T>
std::string to_bytes(const T& value) {
  ByteWriter writer;
  writer.text(kKind<T>);
  writer.number(kFormat);
  Pickle::write(writer, value);
  return std::move(writer).sealed();
}

template <class T>
T from_bytes(std::string_view bytes) {
  ByteReader reader(bytes, kKind<T>);
  reader.check(reader.text() == kKind<T>, "something else was pickled");
  reader.check(reader.number() == kFormat, "written by another version");
  T value = Pickle::read<T>(reader);
  reader.end();
  return value;
}

template std::string to_bytes(const OpSignature&);
template std::string to_bytes(const Rule&);
template std::string to_bytes(const RuleSet&);
template std::string to_bytes(const CostTable&);
template std::string to_bytes(const Graph&);
template OpSignature from_bytes(std::string_view);
template Rule from_bytes(std::string_view);
template RuleSet from_bytes(std::string_view);
template CostTable from_bytes(std::string_view);
template Graph from_bytes(std::string_view);

}  // namespace xflowrl
