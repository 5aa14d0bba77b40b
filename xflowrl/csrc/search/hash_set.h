// A set of 128-bit hashes by open addressing: half the memory of std::unordered_set and one cache
// miss a lookup, which is what searches spend their time on.
#pragma once

#include <vector>

#include "graph/hash.h"

namespace xflowrl {

class HashSet {
 public:
  bool contains(Hash128 hash) const {
    return size_ > 0 && slots_[place_of(filled(hash))] != kEmpty;
  }
  // True if the hash is new.
  bool insert(Hash128 hash) {
    hash = filled(hash);
    if (4 * (size_ + 1) > 3 * slots_.size()) grow();
    Hash128& slot = slots_[place_of(hash)];
    if (slot == hash) return false;
    slot = hash;
    ++size_;
    return true;
  }

 private:
  static constexpr Hash128 kEmpty{0, 0}, kInsteadOfEmpty{0x9e3779b97f4a7c15, 0x2545f4914f6cdd1d};

  static Hash128 filled(Hash128 hash) { return hash == kEmpty ? kInsteadOfEmpty : hash; }

  // Where the hash is, or would be.
  size_t place_of(const Hash128& hash) const {
    const size_t mask = slots_.size() - 1;
    // Fibonacci hashing: the low bits of a hash may be poor, as those of TASO's are.
    size_t i = (hash.lo * 0x9e3779b97f4a7c15ULL) >> shift_;
    while (slots_[i] != kEmpty && slots_[i] != hash) i = (i + 1) & mask;
    return i;
  }

  void grow() {
    const std::vector<Hash128> before = std::move(slots_);
    slots_.assign(before.empty() ? size_t{1} << (64 - shift_) : 2 * before.size(), kEmpty);
    if (!before.empty()) --shift_;
    for (const Hash128& hash : before) {
      if (hash != kEmpty) slots_[place_of(hash)] = hash;
    }
  }

  std::vector<Hash128> slots_;
  int shift_ = 64 - 6;  // 64 minus the logarithm of the number of slots
  size_t size_ = 0;
};

}  // namespace xflowrl
