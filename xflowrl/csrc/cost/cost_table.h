// Prices of nodes and graphs.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "cost/op_class.h"
#include "cost/op_signature.h"
#include "graph/graph.h"

namespace xflowrl {

struct Cost {
  double ms = 0;  // NaN while a signature is not known
  double flops = 0;
  double bytes = 0;
  int kernels = 0;  // nodes that take time

  Cost& operator+=(const Cost& o) {
    ms += o.ms, flops += o.flops, bytes += o.bytes, kernels += o.kernels;
    return *this;
  }
  Cost& operator-=(const Cost& o) {
    ms -= o.ms, flops -= o.flops, bytes -= o.bytes, kernels -= o.kernels;
    return *this;
  }
};

// What the price of every operator of a class is multiplied by; 1 for those not in it.
using Correction = std::map<OpClass, double>;

// Prices a node from its operator, attributes and types. Measured ones are not safe for concurrent
// use: what is asked for and unknown is noted.
class CostTable {
 public:
  // ms = overhead + max(flops / flops_per_s, bytes / bytes_per_s); copies pay for their bytes,
  // Reshape and its like and whatever depends on constants alone are free.
  static std::shared_ptr<CostTable> roofline(double flops_per_s, double bytes_per_s,
                                             double overhead_ms, Correction correction = {});
  // As TASO charges: copies are free but for a concat of the user's own graph; operators on
  // constants are charged, batch normalisation folding's broadcast_add is not.
  static std::shared_ptr<CostTable> taso(double flops_per_s, double bytes_per_s,
                                         double overhead_ms);
  // Knows what it has been told.
  static std::shared_ptr<CostTable> measured(Correction correction = {});

  // `node` has its signature, outputs and constness.
  Cost price(const Node& node, Operands inputs, const PricedSizes* sizes = nullptr);
  Cost price(const Graph& graph, NodeId id);
  Cost price(const Graph& graph);  // in topological order, so equal graphs cost bitwise the same
  // What the operators of each class cost together, without the correction; only those that cost.
  std::map<OpClass, double> ms_by_class(const Graph& graph);

  // What was asked for and not known, in order of first asking.
  std::vector<OpSignature> unknown() const;
  bool has_unknown() const { return !unknown_.empty(); }
  void set(const std::string& key, double ms);
  std::optional<double> get(const std::string& key) const;
  size_t size() const { return known_by_key_.size(); }
  // Does pricing leave the table as it is? Then several threads may price at once.
  bool is_formula() const { return kind_ != Kind::kMeasured; }
  bool charges_constants() const { return kind_ == Kind::kTaso; }
  // Does a price depend on the operators of the node's producers?
  bool reads_producers() const { return !correction_.empty(); }

 private:
  friend struct Pickle;
  enum class Kind { kRoofline, kTaso, kMeasured };
  CostTable(Kind kind, double flops_per_s, double bytes_per_s, double overhead_ms,
            Correction correction = {})
      : kind_(kind),
        flops_per_s_(flops_per_s),
        bytes_per_s_(bytes_per_s),
        overhead_ms_(overhead_ms),
        correction_(std::move(correction)) {}
  Cost uncorrected(const Node& node, Operands inputs, const PricedSizes* sizes);
  Cost price_resized(Node node, Operands inputs, const PricedSizes& sizes);
  double formula_ms(const NodeWork& work) const;
  double taso_ms(const Node& node, NodeWork work, Operands inputs) const;
  double measured_ms(const Node& node, Operands inputs);

  Kind kind_;
  double flops_per_s_, bytes_per_s_, overhead_ms_;
  Correction correction_;
  std::unordered_map<std::string, double> known_by_key_;
  // Points into known_by_key_, whose elements stay where they are.
  std::unordered_map<Hash128, const double*, HashOfHash> known_;
  std::vector<OpSignature> unknown_;
  std::unordered_map<Hash128, std::string, HashOfHash> unknown_keys_;
};

}  // namespace xflowrl
