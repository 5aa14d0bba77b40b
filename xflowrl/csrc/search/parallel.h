// Work shared out among threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <future>
#include <iterator>
#include <vector>

namespace xflowrl {

// What work(begin, end, results) appends for all of [0, size), in this order with any number of
// threads. Parts are handed out one by one, for some take much longer than others; below
// `min_size` no thread is started, which takes some 20 us.
template <class Result, class Work>
std::vector<Result> in_parts(size_t size, int num_threads, size_t min_size, const Work& work) {
  std::vector<Result> results;
  if (num_threads == 1 || size < min_size) {
    work(size_t{0}, size, results);
    return results;
  }
  const size_t num_parts = std::min(size, 16 * static_cast<size_t>(num_threads));
  std::vector<std::vector<Result>> of_part(num_parts);
  std::atomic<size_t> next{0};
  const auto take_parts = [&] {
    for (size_t part; (part = next++) < num_parts;)
      work(size * part / num_parts, size * (part + 1) / num_parts, of_part[part]);
  };
  {
    std::vector<std::future<void>> others;
    for (int i = 1; i < num_threads; ++i)
      others.push_back(std::async(std::launch::async, take_parts));
    take_parts();
    for (std::future<void>& other : others) other.get();
  }
  for (std::vector<Result>& part : of_part)
    std::move(part.begin(), part.end(), std::back_inserter(results));
  return results;
}

}  // namespace xflowrl
