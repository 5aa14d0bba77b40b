// A vector whose copies share their chunks: copying costs size / 32 pointers, writing one chunk.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <vector>

namespace xflowrl {

template <class T>
class PersistentVector {
 public:
  static constexpr size_t kChunk = 32;

  size_t size() const { return size_; }
  const T& operator[](size_t i) const { return (*chunks_[i / kChunk])[i % kChunk]; }

  // The element for writing; copies its chunk first if another vector shares it.
  T& mut(size_t i) {
    auto& chunk = chunks_[i / kChunk];
    if (chunk.use_count() > 1) chunk = std::make_shared<Chunk>(*chunk);
    return (*chunk)[i % kChunk];
  }

  void resize(size_t size) {
    while (chunks_.size() * kChunk < size) chunks_.push_back(std::make_shared<Chunk>());
    size_ = size;
  }

  // Do both share the chunk of element i? Then the element is equal in both.
  bool shares(const PersistentVector& other, size_t i) const {
    const size_t c = i / kChunk;
    return c < chunks_.size() && c < other.chunks_.size() && chunks_[c] == other.chunks_[c];
  }

 private:
  using Chunk = std::array<T, kChunk>;
  std::vector<std::shared_ptr<Chunk>> chunks_;
  size_t size_ = 0;
};

}  // namespace xflowrl
