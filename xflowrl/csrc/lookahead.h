// Threads that build states before a search asks for them. What is built does not depend on when or
// where it is, so a search takes the same way with any number of threads.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "state.h"

namespace xflowrl {

class Lookahead {
 public:
  using Build = std::function<std::shared_ptr<State>()>;
  using Rank = std::pair<double, int64_t>;  // what is lower will be asked for earlier

  explicit Lookahead(int num_threads);
  ~Lookahead();
  Lookahead(const Lookahead&) = delete;
  Lookahead& operator=(const Lookahead&) = delete;

  // Begins what was not begun yet. What was and ranks last gives way if there is too much of it.
  void begin(Rank rank, Build build);
  // The state of this rank, waited for if it is being built; null if nobody has begun it.
  std::shared_ptr<State> take(Rank rank);
  // Forgets all that is not being built.
  void clear();

 private:
  enum class Stage { kWaiting, kBuilding, kDone };
  struct Task {
    Build build;
    Stage stage = Stage::kWaiting;
    std::shared_ptr<State> state;
    std::exception_ptr error;
  };
  void work();

  const size_t capacity_;
  std::mutex mutex_;
  std::condition_variable has_work_, has_built_;
  std::map<Rank, std::shared_ptr<Task>> tasks_;
  std::deque<std::shared_ptr<Task>> waiting_;
  bool is_over_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace xflowrl
