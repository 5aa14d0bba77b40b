// 128-bit hashes that are equal in every process: nothing here depends on addresses or seeds.
#pragma once

#include <bit>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

namespace xflowrl {

struct Hash128 {
  uint64_t hi = 0;
  uint64_t lo = 0;

  auto operator<=>(const Hash128&) const = default;

  // Sums modulo 2^128: the hash of a set is the sum of the hashes of its elements.
  Hash128& operator+=(const Hash128& other) {
    lo += other.lo;
    hi += other.hi + (lo < other.lo ? 1 : 0);
    return *this;
  }
  Hash128& operator-=(const Hash128& other) {
    hi -= other.hi + (lo < other.lo ? 1 : 0);
    lo -= other.lo;
    return *this;
  }

  std::string hex() const;
};

// For hash tables; the bits are already well mixed.
struct HashOfHash {
  size_t operator()(const Hash128& h) const { return static_cast<size_t>(h.lo); }
};

// Absorbs words one after another. Order matters.
class Hasher {
 public:
  explicit Hasher(uint64_t tag) { add(tag); }

  Hasher& add(uint64_t word) {
    a_ = mix((a_ ^ word) * 0x9e3779b97f4a7c15ULL);
    b_ = mix((b_ + std::rotl(word, 32) + a_) * 0xc2b2ae3d27d4eb4fULL);
    return *this;
  }
  Hasher& add(int64_t word) { return add(static_cast<uint64_t>(word)); }
  Hasher& add(int word) { return add(static_cast<uint64_t>(static_cast<int64_t>(word))); }
  Hasher& add(double value) { return add(std::bit_cast<uint64_t>(value == 0 ? 0.0 : value)); }
  Hasher& add(const Hash128& h) { return add(h.hi).add(h.lo); }
  Hasher& add(std::string_view text) {
    add(static_cast<uint64_t>(text.size()));
    uint64_t word = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      word = (word << 8) | static_cast<unsigned char>(text[i]);
      if (i % 8 == 7) add(word), word = 0;
    }
    return add(word);
  }
  Hash128 done() const { return {a_, b_}; }

 private:
  static uint64_t mix(uint64_t x) {
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdULL;
    x ^= x >> 29;
    x *= 0xc4ceb9fe1a85ec53ULL;
    return x ^ (x >> 32);
  }
  uint64_t a_ = 0x243f6a8885a308d3ULL;
  uint64_t b_ = 0x13198a2e03707344ULL;
};

}  // namespace xflowrl
