#include "graph/infer_windows.h"

#include <algorithm>

#include "graph/infer.h"

namespace xflowrl::infer {
namespace {

using Types = std::vector<TensorType>;

size_t at(int i) { return static_cast<size_t>(i); }

// Output size of a sliding window; -1 if it does not fit.
int64_t window(int64_t size, int64_t kernel, int64_t stride, int64_t dilation, int64_t pad_begin,
               int64_t pad_end, bool ceil) {
  const int64_t room = size + pad_begin + pad_end - dilation * (kernel - 1) - 1;
  if (room < 0 || stride < 1) return -1;
  int64_t count = (ceil ? room + stride - 1 : room) / stride + 1;
  // A window may not start in the end padding.
  if (ceil && (count - 1) * stride >= size + pad_begin) --count;
  return count;
}

bool window_attributes_fit(const Attrs& attrs, size_t spatial) {
  return attrs.ints("strides").size() == spatial && attrs.ints("dilations").size() == spatial &&
         attrs.ints("pads").size() == 2 * spatial;
}

// The channels along an axis of a kernel: axis 1 has those of one group.
int64_t channels(const TensorType& kernel, int axis, const Attrs& attrs) {
  return kernel.dim(axis) * (axis == 1 ? attrs.integer("group") : 1);
}

// A Conv makes the channels of its kernel's axis 0 of those of axis 1, a ConvTranspose the others.
const char* kernel_fits(Operands inputs, const Attrs& attrs, int read, int made) {
  const TensorType &x = *inputs[0], &w = *inputs[1];
  if (x.rank() < 3 || w.rank() != x.rank()) return "ranks of input and kernel do not fit";
  if (x.dtype != w.dtype) return "operands differ in element type";
  const int64_t group = attrs.integer("group");
  if (group < 1 || x.dim(1) != channels(w, read, attrs) || w.dim(0) % group != 0)
    return "channels, kernel and group do not fit";
  if (inputs.size() > 2 && inputs[2] &&
      (inputs[2]->rank() != 1 || inputs[2]->dim(0) != channels(w, made, attrs) ||
       inputs[2]->dtype != x.dtype))
    return "the bias does not fit the kernel";
  return window_attributes_fit(attrs, at(x.rank() - 2)) ? nullptr
                                                        : "strides, pads or dilations do not fit";
}

}  // namespace

const char* conv(Operands inputs, const Attrs& attrs, Types& outputs) {
  if (const char* error = kernel_fits(inputs, attrs, 1, 0)) return error;
  const TensorType &x = *inputs[0], &w = *inputs[1];
  const size_t spatial = at(x.rank() - 2);
  const Ints &strides = attrs.ints("strides"), &pads = attrs.ints("pads"),
             &dilations = attrs.ints("dilations");
  std::array<int64_t, kMaxRank> dims{x.dim(0), w.dim(0)};
  for (size_t i = 0; i < spatial; ++i) {
    dims[i + 2] = window(x.dims_[i + 2], w.dims_[i + 2], strides[i], dilations[i], pads[i],
                         pads[i + spatial], false);
    if (dims[i + 2] < 0) return "the kernel is larger than the padded input";
  }
  return emit(outputs, x.dtype, {dims.data(), spatial + 2});
}

const char* conv_transpose(Operands inputs, const Attrs& attrs, Types& outputs) {
  if (const char* error = kernel_fits(inputs, attrs, 0, 1)) return error;
  const TensorType &x = *inputs[0], &w = *inputs[1];
  const size_t spatial = at(x.rank() - 2);
  const Ints &strides = attrs.ints("strides"), &pads = attrs.ints("pads"),
             &dilations = attrs.ints("dilations"), &more = attrs.ints("output_padding");
  if (more.size() != spatial) return "output_padding does not fit";
  std::array<int64_t, kMaxRank> dims{x.dim(0), channels(w, 1, attrs)};
  for (size_t i = 0; i < spatial; ++i) {
    if (strides[i] < 1 || dilations[i] < 1 || more[i] < 0)
      return "a stride, dilation or output_padding is out of range";
    dims[i + 2] = strides[i] * (x.dims_[i + 2] - 1) + dilations[i] * (w.dims_[i + 2] - 1) + 1 +
                  more[i] - pads[i] - pads[i + spatial];
  }
  return emit(outputs, x.dtype, {dims.data(), spatial + 2});
}

const char* pool(Operands inputs, const Attrs& attrs, Types& outputs) {
  const TensorType& x = *inputs[0];
  if (x.rank() < 3) return "the input has no spatial axis";
  const size_t spatial = at(x.rank() - 2);
  const Ints& kernel = attrs.ints("kernel_shape");
  if (kernel.size() != spatial || !window_attributes_fit(attrs, spatial))
    return "kernel, strides, pads or dilations do not fit";
  const Ints &strides = attrs.ints("strides"), &pads = attrs.ints("pads"),
             &dilations = attrs.ints("dilations");
  std::array<int64_t, kMaxRank> dims{x.dim(0), x.dim(1)};
  for (size_t i = 0; i < spatial; ++i) {
    dims[i + 2] = window(x.dims_[i + 2], kernel[i], strides[i], dilations[i], pads[i],
                         pads[i + spatial], attrs.integer("ceil_mode") != 0);
    if (dims[i + 2] < 0) return "the window is larger than the padded input";
  }
  return emit(outputs, x.dtype, {dims.data(), spatial + 2});
}

const char* global_pool(Operands inputs, const Attrs&, Types& outputs) {
  TensorType type = *inputs[0];
  if (type.rank() < 3) return "the input has no spatial axis";
  for (int i = 2; i < type.rank(); ++i) type.dims_[at(i)] = 1;
  outputs.push_back(type);
  return nullptr;
}

}  // namespace xflowrl::infer
