// Bytes that values are written to and read from, sealed with a hash against damage.
#pragma once

#include <bit>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "graph/hash.h"

namespace xflowrl {

class ByteWriter {
 public:
  // Seven bits a byte, the lowest first; small numbers of either sign are short.
  void number(int64_t value) {
    const auto sign = static_cast<uint64_t>(value >> 63);
    uint64_t bits = (static_cast<uint64_t>(value) << 1) ^ sign;
    for (; bits >= 128; bits >>= 7) bytes_ += static_cast<char>(bits | 128);
    bytes_ += static_cast<char>(bits);
  }
  void count(size_t value) { number(static_cast<int64_t>(value)); }
  void word(uint64_t value) {
    for (int shift = 0; shift < 64; shift += 8) bytes_ += static_cast<char>(value >> shift);
  }
  void real(double value) { word(std::bit_cast<uint64_t>(value)); }
  void hash(const Hash128& value) { word(value.hi), word(value.lo); }
  void text(std::string_view value) { count(value.size()), bytes_ += value; }

  std::string sealed() && {
    hash(Hasher(12).add(std::string_view(bytes_)).done());
    return std::move(bytes_);
  }

 private:
  std::string bytes_;
};

// Trusts nothing it reads: every member function throws std::invalid_argument at what is not there
// or out of range. `what`: the name of the value in the messages.
class ByteReader {
 public:
  ByteReader(std::string_view bytes, const char* what) : bytes_(bytes), what_(what) {
    check(bytes.size() >= kSeal, "truncated");
    const std::string_view content = bytes.substr(0, bytes.size() - kSeal);
    bytes_ = bytes.substr(content.size());
    const Hash128 seal = hash();
    check(seal == Hasher(12).add(content).done(), "damaged");
    bytes_ = content;
  }

  void check(bool is_right, const char* why) const {
    if (!is_right)
      throw std::invalid_argument(std::string("pickled ") + what_ + ": " + why +
                                  "; pickle it again with this version of xflowrl");
  }

  int64_t number() {
    uint64_t bits = 0;
    for (int shift = 0;; shift += 7) {
      const uint64_t byte = next();
      check(shift < 63 || byte < 2, "a number is too large");
      bits |= (byte & 127) << shift;
      if (byte < 128) break;
    }
    return static_cast<int64_t>((bits >> 1) ^ (~(bits & 1) + 1));
  }
  int64_t number(int64_t low, int64_t high) {
    const int64_t value = number();
    check(low <= value && value <= high, "a number is out of range");
    return value;
  }
  bool flag() { return number(0, 1) != 0; }
  // Of things that follow, each at least a byte: so what is read cannot ask for more memory than
  // a multiple of its own.
  size_t count() { return static_cast<size_t>(number(0, static_cast<int64_t>(bytes_.size()))); }
  uint64_t word() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 8) value |= uint64_t{next()} << shift;
    return value;
  }
  double real() { return std::bit_cast<double>(word()); }
  Hash128 hash() {
    const uint64_t hi = word();
    return {hi, word()};
  }
  std::string text() {
    const size_t size = count();
    std::string value(bytes_.substr(0, size));
    bytes_.remove_prefix(size);
    return value;
  }
  void end() const { check(bytes_.empty(), "something follows its end"); }

 private:
  static constexpr size_t kSeal = 16;

  unsigned char next() {
    check(!bytes_.empty(), "truncated");
    const auto byte = static_cast<unsigned char>(bytes_.front());
    bytes_.remove_prefix(1);
    return byte;
  }

  std::string_view bytes_;
  const char* what_;
};

// --- numbers, texts and lists of them ---

inline void write_element(ByteWriter& w, int64_t value) { w.number(value); }
inline void write_element(ByteWriter& w, double value) { w.real(value); }
inline void write_element(ByteWriter& w, const std::string& value) { w.text(value); }
inline void read_element(ByteReader& r, int64_t& value) { value = r.number(); }
inline void read_element(ByteReader& r, double& value) { value = r.real(); }
inline void read_element(ByteReader& r, std::string& value) { value = r.text(); }

template <class T>
inline void write_element(ByteWriter& w, const std::vector<T>& list) {
  w.count(list.size());
  for (const T& element : list) write_element(w, element);
}
template <class T>
inline void read_element(ByteReader& r, std::vector<T>& list) {
  list.resize(r.count());
  for (T& element : list) read_element(r, element);
}

}  // namespace xflowrl
