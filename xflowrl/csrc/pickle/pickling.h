// What the engine's objects are pickled as: bytes from which the same object is made elsewhere.
// They are for processes of one version, not for keeping.
#pragma once

#include <string>
#include <string_view>

#include "cost/cost_table.h"
#include "graph/graph.h"
#include "rule/rule.h"

namespace xflowrl {

// Of OpSignature, Rule, RuleSet (the texts: a rule's text is its identity), CostTable (with what it
// was asked for and does not know) and Graph. A graph is written with all that its future depends
// on: slots and the order of their reuse, creation numbers, value ids, names, the order of
// consumers. So what is done to the copy gives bitwise what it gives on the original. Signatures,
// constness and hash follow from the rest and are computed anew. Linear in the size of the value.
template <class T>
std::string to_bytes(const T& value);

// The reverse. Throws std::invalid_argument for bytes of which no such object can be made.
template <class T>
T from_bytes(std::string_view bytes);

}  // namespace xflowrl
