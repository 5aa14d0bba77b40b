// Work shared out among threads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <future>
#include <vector>

namespace xflowrl {

// Calls work(part, begin, end) for contiguous parts of [0, size), one on each thread.
// Starting a thread takes some 20 us, so a thread gets `grain` at least.
template <class Work>
void parallel_parts(size_t size, int num_threads, size_t grain, const Work& work) {
  const size_t num_parts = std::clamp<size_t>(size / grain, 1, static_cast<size_t>(num_threads));
  const auto begin_of = [&](size_t part) { return size * part / num_parts; };
  std::vector<std::future<void>> others;  // whose destructors wait
  for (size_t part = 1; part < num_parts; ++part)
    others.push_back(std::async(std::launch::async,
                                [&, part] { work(part, begin_of(part), begin_of(part + 1)); }));
  work(size_t{0}, size_t{0}, begin_of(1));
  for (std::future<void>& other : others) other.get();
}

}  // namespace xflowrl
