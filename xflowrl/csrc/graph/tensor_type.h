// Shape and element type of one tensor; never its data.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "graph/hash.h"

namespace xflowrl {

enum class DType : uint8_t {
  kFloat32,
  kFloat64,
  kFloat16,
  kBFloat16,
  kInt8,
  kInt16,
  kInt32,
  kInt64,
  kUInt8,
  kUInt16,
  kUInt32,
  kUInt64,
  kBool,
  kString,
  kComplex64,
  kComplex128,
  kFloat8E4M3FN,
  kFloat8E4M3FNUZ,
  kFloat8E5M2,
  kFloat8E5M2FNUZ,
  kInt4,
  kUInt4,
  kUnknown,  // nothing is known of the tensor; its shape is ()
};

// Throws std::invalid_argument for a name that is no element type.
DType parse_dtype(std::string_view name);
const char* dtype_name(DType dtype);
int dtype_bits(DType dtype);
bool is_float(DType dtype);

inline constexpr int kMaxRank = 8;
// Products of two such numbers fit 64 bits, so inference never overflows.
inline constexpr int64_t kMaxDimension = (int64_t{1} << 31) - 1;

struct TensorType {
  DType dtype = DType::kFloat32;
  uint8_t rank_ = 0;
  std::array<int64_t, kMaxRank> dims_{};

  TensorType() = default;
  // Throws std::invalid_argument for a negative dimension or more than kMaxRank of them.
  TensorType(DType type, std::span<const int64_t> shape);

  int rank() const { return rank_; }
  int64_t dim(int i) const { return dims_[static_cast<size_t>(i)]; }
  std::span<const int64_t> shape() const { return {dims_.data(), rank_}; }
  std::vector<int64_t> shape_vector() const { return {dims_.begin(), dims_.begin() + rank_}; }
  int64_t num_elements() const;
  // No dimension above kMaxDimension, and the number of bytes fits 63 bits.
  bool is_countable() const;
  double num_bytes() const;
  bool operator==(const TensorType&) const = default;
  void hash_into(Hasher& hasher) const;
  std::string text() const;  // float32[1,3,32,32]
};

}  // namespace xflowrl
