#include "graph/infer.h"

#include <algorithm>

namespace xflowrl {

bool broadcast_into(TensorType& a, const TensorType& b) {
  const int rank = std::max(a.rank(), b.rank());
  TensorType result;
  result.dtype = a.dtype;
  result.rank_ = static_cast<uint8_t>(rank);
  for (int i = 0; i < rank; ++i) {
    const int ia = i - (rank - a.rank()), ib = i - (rank - b.rank());
    const int64_t da = ia < 0 ? 1 : a.dim(ia), db = ib < 0 ? 1 : b.dim(ib);
    if (da != db && da != 1 && db != 1) return false;
    result.dims_[static_cast<size_t>(i)] = da == 1 ? db : da;
  }
  a = result;
  return true;
}

namespace infer {

const char* emit(std::vector<TensorType>& outputs, DType dtype, std::span<const int64_t> dims) {
  if (dims.size() > kMaxRank) return "the result has too many dimensions";
  TensorType type;
  type.dtype = dtype;
  type.rank_ = static_cast<uint8_t>(dims.size());
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] < 0) return "a dimension of the result is negative";
    type.dims_[i] = dims[i];
  }
  if (!type.is_countable()) return "the result is too large";
  outputs.push_back(type);
  return nullptr;
}

namespace {

using Types = std::vector<TensorType>;

size_t at(int i) { return static_cast<size_t>(i); }

bool is_axis(int64_t axis, int rank) { return axis >= 0 && axis < rank; }

}  // namespace

const char* same_as_first(Operands inputs, const Attrs&, Types& outputs) {
  outputs.push_back(*inputs[0]);
  return nullptr;
}

const char* broadcast(Operands inputs, const Attrs&, Types& outputs) {
  TensorType type = *inputs[0];
  for (const Operand& input : inputs.subspan(1)) {
    if (input->dtype != type.dtype) return "operands differ in element type";
    if (!broadcast_into(type, *input)) return "shapes do not broadcast";
  }
  outputs.push_back(type);
  return nullptr;
}

const char* compare(Operands inputs, const Attrs& attrs, Types& outputs) {
  if (const char* error = broadcast(inputs, attrs, outputs)) return error;
  outputs.back().dtype = DType::kBool;
  return nullptr;
}

const char* where(Operands inputs, const Attrs&, Types& outputs) {
  if (inputs[0]->dtype != DType::kBool) return "the condition is not boolean";
  if (inputs[1]->dtype != inputs[2]->dtype) return "operands differ in element type";
  TensorType type = *inputs[1];
  if (!broadcast_into(type, *inputs[2]) || !broadcast_into(type, *inputs[0]))
    return "shapes do not broadcast";
  outputs.push_back(type);
  return nullptr;
}

const char* matmul(Operands inputs, const Attrs&, Types& outputs) {
  const TensorType &a = *inputs[0], &b = *inputs[1];
  if (a.dtype != b.dtype) return "operands differ in element type";
  if (a.rank() < 1 || b.rank() < 1) return "an operand is a scalar";
  const int64_t inner_a = a.dim(a.rank() - 1);
  const int64_t inner_b = b.rank() == 1 ? b.dim(0) : b.dim(b.rank() - 2);
  if (inner_a != inner_b) return "inner dimensions differ";
  const auto batch_of = [](const TensorType& t) {
    TensorType batch = t;
    batch.rank_ = static_cast<uint8_t>(std::max(0, t.rank() - 2));
    return batch;
  };
  TensorType batch = batch_of(a);
  if (!broadcast_into(batch, batch_of(b))) return "batch dimensions do not broadcast";
  std::vector<int64_t> dims = batch.shape_vector();
  if (a.rank() > 1) dims.push_back(a.dim(a.rank() - 2));
  if (b.rank() > 1) dims.push_back(b.dim(b.rank() - 1));
  return emit(outputs, a.dtype, dims);
}

const char* gemm(Operands inputs, const Attrs& attrs, Types& outputs) {
  const TensorType &a = *inputs[0], &b = *inputs[1];
  if (a.rank() != 2 || b.rank() != 2) return "an operand is not a matrix";
  if (a.dtype != b.dtype) return "operands differ in element type";
  for (const char* name : {"transA", "transB"}) {
    if (attrs.integer(name) != 0 && attrs.integer(name) != 1) return "transA and transB are 0 or 1";
  }
  const bool ta = attrs.integer("transA") != 0, tb = attrs.integer("transB") != 0;
  if (a.dim(ta ? 0 : 1) != b.dim(tb ? 1 : 0)) return "inner dimensions differ";
  const int64_t dims[] = {a.dim(ta ? 1 : 0), b.dim(tb ? 0 : 1)};
  if (const char* error = emit(outputs, a.dtype, dims)) return error;
  if (inputs.size() > 2 && inputs[2]) {
    TensorType result = outputs.back();
    if (inputs[2]->dtype != a.dtype || !broadcast_into(result, *inputs[2]) ||
        result != outputs.back())
      return "the third operand does not broadcast to the product";
  }
  return nullptr;
}

const char* per_channel_parameters(Operands inputs, const Attrs&, Types& outputs) {
  const TensorType& x = *inputs[0];
  if (x.rank() < 2) return "the input has no channel axis";
  for (const Operand& parameter : inputs.subspan(1)) {
    if (parameter->rank() != 1 || parameter->dim(0) != x.dim(1))
      return "a parameter does not fit the channels";
  }
  outputs.push_back(x);
  return nullptr;
}

const char* layer_normalization(Operands inputs, const Attrs& attrs, Types& outputs) {
  const TensorType& x = *inputs[0];
  const int64_t axis = attrs.integer("axis");
  if (!is_axis(axis, x.rank())) return "axis out of range";
  for (const Operand& parameter : inputs.subspan(1)) {
    if (!parameter) continue;
    TensorType normalized = x;
    if (parameter->dtype != x.dtype || !broadcast_into(normalized, *parameter) || normalized != x)
      return "a parameter does not broadcast to the input";
  }
  outputs.push_back(x);
  return nullptr;
}

const char* prelu(Operands inputs, const Attrs&, Types& outputs) {
  TensorType type = *inputs[0];
  if (inputs[1]->dtype != type.dtype || !broadcast_into(type, *inputs[1]) || type != *inputs[0])
    return "the slope does not broadcast to the input";
  outputs.push_back(type);
  return nullptr;
}

const char* concat(Operands inputs, const Attrs& attrs, Types& outputs) {
  TensorType type = *inputs[0];
  const int64_t axis = attrs.integer("axis");
  if (!is_axis(axis, type.rank())) return "axis out of range";
  for (const Operand& input : inputs.subspan(1)) {
    if (input->dtype != type.dtype) return "operands differ in element type";
    if (input->rank() != type.rank()) return "operands differ in rank";
    for (int i = 0; i < type.rank(); ++i) {
      if (i != axis && input->dim(i) != type.dim(i))
        return "operands differ in a dimension that is not joined";
    }
    type.dims_[static_cast<size_t>(axis)] += input->dim(static_cast<int>(axis));
  }
  outputs.push_back(type);
  return nullptr;
}

const char* split(Operands inputs, const Attrs& attrs, Types& outputs) {
  const TensorType& x = *inputs[0];
  const int64_t axis = attrs.integer("axis");
  if (!is_axis(axis, x.rank())) return "axis out of range";
  int64_t left = x.dim(static_cast<int>(axis));
  for (int64_t size : attrs.ints("split")) {
    if (size < 0 || (left -= size) < 0) return "sizes do not add up to the dimension";
    TensorType part = x;
    part.dims_[static_cast<size_t>(axis)] = size;
    outputs.push_back(part);
  }
  return left == 0 ? nullptr : "sizes do not add up to the dimension";
}

const char* slice(Operands inputs, const Attrs& attrs, Types& outputs) {
  TensorType type = *inputs[0];
  const Ints &starts = attrs.ints("starts"), &ends = attrs.ints("ends"), &axes = attrs.ints("axes"),
             &steps = attrs.ints("steps");
  if (starts.size() != axes.size() || ends.size() != axes.size() || steps.size() != axes.size())
    return "starts, ends, axes and steps differ in length";
  for (size_t i = 0; i < axes.size(); ++i) {
    if (!is_axis(axes[i], type.rank())) return "axis out of range";
    if (steps[i] < 1 || starts[i] < 0) return "start or step is not canonical";
    int64_t& dim = type.dims_[static_cast<size_t>(axes[i])];
    const int64_t end = std::min(ends[i], dim), start = std::min(starts[i], dim);
    dim = end > start ? (end - start + steps[i] - 1) / steps[i] : 0;
  }
  outputs.push_back(type);
  return nullptr;
}

const char* pad(Operands inputs, const Attrs& attrs, Types& outputs) {
  TensorType type = *inputs[0];
  const Ints& pads = attrs.ints("pads");
  const size_t rank = at(type.rank());
  if (pads.size() != 2 * rank) return "pads do not fit the rank";
  for (size_t i = 0; i < rank; ++i) {
    type.dims_[i] += pads[i] + pads[i + rank];
    if (type.dims_[i] < 0) return "pads cut away more than there is";
  }
  outputs.push_back(type);
  return nullptr;
}

const char* transpose(Operands inputs, const Attrs& attrs, Types& outputs) {
  const TensorType& x = *inputs[0];
  const Ints& perm = attrs.ints("perm");
  if (perm.size() != at(x.rank())) return "perm does not fit the rank";
  TensorType type = x;
  unsigned seen = 0;
  for (size_t i = 0; i < perm.size(); ++i) {
    if (!is_axis(perm[i], x.rank()) || (seen >> perm[i] & 1u)) return "perm is no permutation";
    seen |= 1u << perm[i];
    type.dims_[i] = x.dim(static_cast<int>(perm[i]));
  }
  outputs.push_back(type);
  return nullptr;
}

const char* reshape(Operands inputs, const Attrs& attrs, Types& outputs) {
  if (const char* error = emit(outputs, inputs[0]->dtype, attrs.ints("shape"))) return error;
  return outputs.back().num_elements() == inputs[0]->num_elements()
             ? nullptr
             : "the number of elements would change";
}

const char* flatten(Operands inputs, const Attrs& attrs, Types& outputs) {
  const TensorType& x = *inputs[0];
  const int64_t axis = attrs.integer("axis");
  if (axis < 0 || axis > x.rank()) return "axis out of range";
  int64_t dims[] = {1, 1};
  for (int i = 0; i < x.rank(); ++i) dims[i < axis ? 0 : 1] *= x.dim(i);
  return emit(outputs, x.dtype, dims);
}

const char* squeeze(Operands inputs, const Attrs& attrs, Types& outputs) {
  const TensorType& x = *inputs[0];
  const Ints& axes = attrs.ints("axes");
  std::vector<int64_t> dims;
  for (int i = 0; i < x.rank(); ++i) {
    if (std::find(axes.begin(), axes.end(), i) == axes.end()) {
      dims.push_back(x.dim(i));
    } else if (x.dim(i) != 1) {
      return "a squeezed dimension is not 1";
    }
  }
  if (dims.size() + axes.size() != at(x.rank())) return "axes are out of range or repeated";
  return emit(outputs, x.dtype, dims);
}

const char* unsqueeze(Operands inputs, const Attrs& attrs, Types& outputs) {
  const TensorType& x = *inputs[0];
  const Ints& axes = attrs.ints("axes");
  const int64_t rank = x.rank() + static_cast<int64_t>(axes.size());
  if (rank > kMaxRank) return "the result has too many dimensions";
  std::vector<int64_t> dims;
  int next = 0;
  for (int64_t i = 0; i < rank; ++i) {
    const bool is_new = std::find(axes.begin(), axes.end(), i) != axes.end();
    if (!is_new && next >= x.rank()) return "axes are out of range or repeated";
    dims.push_back(is_new ? 1 : x.dim(next++));
  }
  return next == x.rank() ? emit(outputs, x.dtype, dims) : "axes are out of range or repeated";
}

const char* expand(Operands inputs, const Attrs& attrs, Types& outputs) {
  TensorType type = *inputs[0];
  if (const char* error = emit(outputs, type.dtype, attrs.ints("shape"))) return error;
  return broadcast_into(type, outputs.back()) && type == outputs.back()
             ? nullptr
             : "the input does not broadcast to the shape";
}

const char* tile(Operands inputs, const Attrs& attrs, Types& outputs) {
  TensorType type = *inputs[0];
  const Ints& repeats = attrs.ints("repeats");
  if (repeats.size() != at(type.rank())) return "repeats do not fit the rank";
  for (size_t i = 0; i < repeats.size(); ++i) {
    if (repeats[i] < 0) return "a repeat is negative";
    type.dims_[i] *= repeats[i];
  }
  outputs.push_back(type);
  return nullptr;
}

const char* reduce(Operands inputs, const Attrs& attrs, Types& outputs) {
  const TensorType& x = *inputs[0];
  const Ints& axes = attrs.ints("axes");
  if (axes.empty()) return "axes must be listed";
  for (int64_t axis : axes) {
    if (!is_axis(axis, x.rank())) return "axis out of range";
  }
  std::vector<int64_t> dims;
  for (int i = 0; i < x.rank(); ++i) {
    const bool reduced = std::find(axes.begin(), axes.end(), i) != axes.end();
    if (!reduced) dims.push_back(x.dim(i));
    if (reduced && attrs.integer("keepdims") != 0) dims.push_back(1);
  }
  return emit(outputs, x.dtype, dims);
}

const char* softmax(Operands inputs, const Attrs& attrs, Types& outputs) {
  if (!is_axis(attrs.integer("axis"), inputs[0]->rank())) return "axis out of range";
  outputs.push_back(*inputs[0]);
  return nullptr;
}

const char* gather(Operands inputs, const Attrs& attrs, Types& outputs) {
  const TensorType &x = *inputs[0], &indices = *inputs[1];
  const int64_t axis = attrs.integer("axis");
  if (!is_axis(axis, x.rank())) return "axis out of range";
  std::vector<int64_t> dims;
  for (int i = 0; i < x.rank(); ++i) {
    if (i != axis) {
      dims.push_back(x.dim(i));
    } else {
      dims.insert(dims.end(), indices.shape().begin(), indices.shape().end());
    }
  }
  return emit(outputs, x.dtype, dims);
}

}  // namespace infer
}  // namespace xflowrl
