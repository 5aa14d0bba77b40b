// Rules: source patterns, target patterns and the guards under which both are equal.
#pragma once

#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "graph/operators.h"
#include "rule/expression.h"

namespace xflowrl {

enum class VarKind { kTensor, kOptional, kSequence, kAttribute, kAttributeSet };

struct Variable {
  std::string name;
  VarKind kind;
  int index;  // within its storage: tensors and optionals share one
};

// Which output of a node: a number, or an attribute variable that holds it.
struct OutputIndex {
  int number = 0;
  int attr_var = -1;
};

struct OperandPattern {
  enum class Kind { kTensor, kOptional, kSequence, kNode, kAbsent, kLiteral };
  Kind kind = Kind::kAbsent;
  int var = -1;        // kTensor, kOptional, kSequence; of kLiteral: the tensor whose dtype it has
  int min_length = 1;  // kSequence
  int node = -1;       // kNode (an `each` node stands for several operands)
  OutputIndex output;  // kNode
  bool all_outputs = false;  // kNode: every output in order (operand list of an `each`)
  Expr value;                // kLiteral; a scalar or a list
};

struct AttrPattern {
  enum class Kind { kBind, kConstant, kExpression };
  Kind kind = Kind::kConstant;
  std::string name;
  int var = -1;     // kBind
  AttrValue value;  // kConstant
  Expr expr;        // kExpression; in a target always this
};

struct NodePattern {
  std::string label;  // "@name", or empty
  OpIndex op = kUnknownOp;
  bool is_each = false;  // one node per element of its sequence operand
  std::vector<OperandPattern> operands;
  std::vector<AttrPattern> attrs;
  int attr_set_var = -1;
};

// One item of the list of replaced (or replacing) tensors.
struct TensorItem {
  OperandPattern operand;  // a single tensor, or an `each` node
  bool is_range = false;   // outputs from..to-1 of operand.node
  Expr from, to;           // kind kNone: from the first / to the last
};

struct Pattern {
  std::vector<NodePattern> nodes;  // operands before consumers
  std::vector<TensorItem> tensors;
};

struct Guard {
  Expr expr;
  std::string text;
};

// How to get from a bound tensor up to a pattern node that no bound node leads to. An empty path:
// nothing that is bound leads there, so a part of the source begins, anywhere in the graph.
struct Climb {
  int entry;              // pattern node to be bound
  OperandPattern from;    // a bound variable, or a node output
  std::vector<int> path;  // pattern nodes from the consumer of `from` up to `entry`
};

// One move in the graph, from the node that plays pattern node a to those that may play b.
struct Move {
  enum class Kind { kToConsumers, kToProducer, kToSiblings } kind;
  OpIndex op;  // of the node arrived at
};

// A source node and a variable that no operand of the node leads from: a path from the one to the
// other would leave the match and come back.
struct Crossing {
  int node;
  OperandPattern variable;  // kTensor, kOptional or kSequence
};

struct Rule {
  std::string name, text, filename;
  int line = 0;
  int opset = 0;  // of ONNX, the first that has what the rule writes
  std::vector<Variable> variables;
  int num_tensors = 0, num_sequences = 0, num_attributes = 0, num_attribute_sets = 0;
  Pattern source, target;
  std::vector<Guard> guards;
  std::vector<Climb> entries;             // entries[0] is the anchor, without a path
  std::vector<int> anchors;               // per source node: the entry of its part of the source
  std::vector<std::vector<Move>> routes;  // per source node: how to reach that entry from it
  std::vector<Crossing> crossings;        // what must not lead to what, or a cycle would be closed
  bool is_disconnected = false;           // has parts that share nothing: several such entries
  bool matches_constants = false;         // also where constants alone are computed, as TASO does
};

struct RuleSet {
  std::string name;
  bool is_commutative = false;
  bool is_faithful = false;  // rules as TASO has them: not all sound, also applied to constants
  std::vector<std::shared_ptr<const Rule>> rules;
  int opset = std::numeric_limits<int>::max();  // rules of later ones match nowhere

  // Throws std::invalid_argument if a name occurs twice or the sets differ in their options.
  static std::shared_ptr<const RuleSet> join(
      const std::vector<std::shared_ptr<const RuleSet>>& sets, const std::string& name);
};

}  // namespace xflowrl
