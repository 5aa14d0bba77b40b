#include "graph/tensor_type.h"

#include <iterator>
#include <stdexcept>

namespace xflowrl {
namespace {

struct DTypeInfo {
  const char* name;
  int bits;
};

// In the order of DType.
constexpr DTypeInfo kDTypes[] = {
    {"float32", 32},     {"float64", 64},       {"float16", 16},   {"bfloat16", 16},
    {"int8", 8},         {"int16", 16},         {"int32", 32},     {"int64", 64},
    {"uint8", 8},        {"uint16", 16},        {"uint32", 32},    {"uint64", 64},
    {"bool", 8},         {"string", 128},       {"complex64", 64}, {"complex128", 128},
    {"float8e4m3fn", 8}, {"float8e4m3fnuz", 8}, {"float8e5m2", 8}, {"float8e5m2fnuz", 8},
    {"int4", 4},         {"uint4", 4},          {"unknown", 0},
};

}  // namespace

DType parse_dtype(std::string_view name) {
  for (size_t i = 0; i < std::size(kDTypes); ++i) {
    if (name == kDTypes[i].name) return static_cast<DType>(i);
  }
  throw std::invalid_argument("unknown element type \"" + std::string(name) +
                              "\"; use a NumPy name such as float32 or int64");
}

const char* dtype_name(DType dtype) { return kDTypes[static_cast<size_t>(dtype)].name; }
int dtype_bits(DType dtype) { return kDTypes[static_cast<size_t>(dtype)].bits; }
bool is_float(DType dtype) { return dtype <= DType::kBFloat16; }

TensorType::TensorType(DType type, std::span<const int64_t> shape) : dtype(type) {
  if (shape.size() > kMaxRank) {
    throw std::invalid_argument("a tensor of rank " + std::to_string(shape.size()) +
                                " is not supported; at most " + std::to_string(kMaxRank));
  }
  rank_ = static_cast<uint8_t>(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] < 0) {
      throw std::invalid_argument("dimension " + std::to_string(i) + " is " +
                                  std::to_string(shape[i]) + "; shapes must be static");
    }
    dims_[i] = shape[i];
  }
  if (!is_countable())
    throw std::invalid_argument("shape " + text() + " has more elements than can be counted");
}

int64_t TensorType::num_elements() const {
  int64_t count = 1;
  for (int64_t d : shape()) count *= d;
  return count;
}

bool TensorType::is_countable() const {
  // Zeros are left out, so that every partial product is bounded too.
  int64_t count = 16;  // bytes of the largest element
  for (int64_t d : shape()) {
    if (d > kMaxDimension || (d != 0 && __builtin_mul_overflow(count, d, &count))) return false;
  }
  return true;
}

double TensorType::num_bytes() const {
  return static_cast<double>(num_elements()) * dtype_bits(dtype) / 8;
}

void TensorType::hash_into(Hasher& hasher) const {
  hasher.add(static_cast<int>(dtype) * 16 + rank());
  for (int64_t d : shape()) hasher.add(d);
}

std::string TensorType::text() const {
  std::string out = std::string(dtype_name(dtype)) + "[";
  for (int i = 0; i < rank(); ++i) out += (i ? "," : "") + std::to_string(dim(i));
  return out + "]";
}

}  // namespace xflowrl
