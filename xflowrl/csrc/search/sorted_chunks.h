// An ordered sequence whose copies share their chunks: copying costs size / 32 pointers, inserting
// and erasing a search and one chunk.
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>
#include <vector>

namespace xflowrl {

template <class T, class Less>
class SortedChunks {
  static constexpr size_t kMaxChunk = 32;
  using Chunk = std::vector<T>;  // never empty
  using Chunks = std::vector<std::shared_ptr<Chunk>>;

 public:
  class Iterator {
   public:
    using iterator_category = std::forward_iterator_tag;
    using value_type = T;
    using difference_type = std::ptrdiff_t;
    using pointer = const T*;
    using reference = const T&;

    Iterator() = default;
    Iterator(const Chunks* chunks, size_t chunk, size_t place = 0)
        : chunks_(chunks), chunk_(chunk), place_(place) {}
    reference operator*() const { return (*(*chunks_)[chunk_])[place_]; }
    pointer operator->() const { return &**this; }
    Iterator& operator++() {
      if (++place_ == (*chunks_)[chunk_]->size()) ++chunk_, place_ = 0;
      return *this;
    }
    Iterator operator++(int) {
      const Iterator before = *this;
      ++*this;
      return before;
    }
    bool operator==(const Iterator&) const = default;

   private:
    const Chunks* chunks_ = nullptr;
    size_t chunk_ = 0, place_ = 0;
  };

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  Iterator begin() const { return {&chunks_, 0}; }
  Iterator end() const { return {&chunks_, chunks_.size()}; }
  // Linear in the number of chunks.
  const T& operator[](size_t i) const {
    size_t c = 0;
    for (; i >= chunks_[c]->size(); ++c) i -= chunks_[c]->size();
    return (*chunks_[c])[i];
  }

  // The place of what is equal by ==; it must be there. Linear in the number of chunks.
  size_t index_of(const T& value) const {
    const auto [c, place] = find(value).value();
    size_t index = place;
    for (size_t before = 0; before < c; ++before) index += chunks_[before]->size();
    return index;
  }
  // How many satisfy a condition that holds up to some place. Linear in the number of chunks.
  template <class Condition>
  size_t count_while(Condition holds) const {
    size_t count = 0;
    for (const auto& chunk : chunks_) {
      if (holds(chunk->back())) {
        count += chunk->size();
        continue;
      }
      const auto end = std::partition_point(chunk->begin(), chunk->end(), holds);
      return count + static_cast<size_t>(end - chunk->begin());
    }
    return count;
  }

  // The first that does not satisfy a condition that holds up to some place. Logarithmic.
  template <class Condition>
  Iterator first_beyond(Condition holds) const {
    const auto chunk = std::partition_point(chunks_.begin(), chunks_.end(),
                                            [&](const auto& c) { return holds(c->back()); });
    const auto c = static_cast<size_t>(chunk - chunks_.begin());
    if (chunk == chunks_.end()) return end();
    const auto place = std::partition_point((*chunk)->begin(), (*chunk)->end(), holds);
    return {&chunks_, c, static_cast<size_t>(place - (*chunk)->begin())};
  }

  // Behind its equals.
  void insert(T value) {
    ++size_;
    if (chunks_.empty()) {
      chunks_.push_back(std::make_shared<Chunk>(1, std::move(value)));
      return;
    }
    const size_t c = std::max<size_t>(first_chunk_above(value), 1) - 1;
    Chunk& chunk = mut(c);
    chunk.insert(std::upper_bound(chunk.begin(), chunk.end(), value, Less()), std::move(value));
    if (chunk.size() <= kMaxChunk) return;
    const auto middle = chunk.begin() + kMaxChunk / 2;
    auto upper = std::make_shared<Chunk>(middle, chunk.end());
    chunk.erase(middle, chunk.end());
    chunks_.insert(chunks_.begin() + static_cast<std::ptrdiff_t>(c) + 1, std::move(upper));
  }

  // Erases what is equal by ==, if it is there.
  bool erase(const T& value) {
    const auto found = find(value);
    if (found) erase_at(found->chunk, found->place);
    return found.has_value();
  }

 private:
  struct Place {
    size_t chunk, place;
  };
  std::optional<Place> find(const T& value) const {
    // Its equals by order may lie in several chunks.
    for (size_t c = first_chunk_above(value); c-- > 0;) {
      const Chunk& chunk = *chunks_[c];
      const auto [first, last] = std::equal_range(chunk.begin(), chunk.end(), value, Less());
      const auto found = std::find(first, last, value);
      if (found != last) return Place{c, static_cast<size_t>(found - chunk.begin())};
      if (first != chunk.begin()) return std::nullopt;
    }
    return std::nullopt;
  }
  // The first chunk whose elements are all greater.
  size_t first_chunk_above(const T& value) const {
    const auto above =
        std::upper_bound(chunks_.begin(), chunks_.end(), value,
                         [](const T& v, const auto& chunk) { return Less()(v, chunk->front()); });
    return static_cast<size_t>(above - chunks_.begin());
  }
  Chunk& mut(size_t c) {
    if (chunks_[c].use_count() > 1) chunks_[c] = std::make_shared<Chunk>(*chunks_[c]);
    return *chunks_[c];
  }
  void erase_at(size_t c, size_t place) {
    --size_;
    if (chunks_[c]->size() == 1) {
      chunks_.erase(chunks_.begin() + static_cast<std::ptrdiff_t>(c));
      return;
    }
    Chunk& chunk = mut(c);
    chunk.erase(chunk.begin() + static_cast<std::ptrdiff_t>(place));
  }

  Chunks chunks_;
  size_t size_ = 0;
};

}  // namespace xflowrl
