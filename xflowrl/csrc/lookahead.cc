#include "lookahead.h"

#include <algorithm>

namespace xflowrl {

Lookahead::Lookahead(int num_threads) : capacity_(static_cast<size_t>(8 * num_threads)) {
  for (int i = 0; i < num_threads; ++i) threads_.emplace_back([this] { work(); });
}

Lookahead::~Lookahead() {
  {
    const std::lock_guard lock(mutex_);
    is_over_ = true;
    waiting_.clear();
  }
  has_work_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Lookahead::begin(Rank rank, Build build) {
  const std::lock_guard lock(mutex_);
  if (tasks_.contains(rank)) return;
  if (tasks_.size() >= capacity_) {
    const auto last = std::prev(tasks_.end());
    if (last->first < rank || last->second->stage != Stage::kDone) return;
    tasks_.erase(last);
  }
  auto task = std::make_shared<Task>();
  task->build = std::move(build);
  tasks_.emplace(rank, task);
  waiting_.push_back(std::move(task));
  has_work_.notify_one();
}

std::shared_ptr<State> Lookahead::take(Rank rank) {
  std::unique_lock lock(mutex_);
  const auto found = tasks_.find(rank);
  if (found == tasks_.end()) return nullptr;
  const std::shared_ptr<Task> task = found->second;
  tasks_.erase(found);
  if (task->stage == Stage::kWaiting) {
    waiting_.erase(std::find(waiting_.begin(), waiting_.end(), task));
    return nullptr;
  }
  has_built_.wait(lock, [&] { return task->stage == Stage::kDone; });
  if (task->error) std::rethrow_exception(task->error);
  return task->state;
}

void Lookahead::clear() {
  const std::lock_guard lock(mutex_);
  waiting_.clear();
  std::erase_if(tasks_, [](const auto& item) { return item.second->stage != Stage::kBuilding; });
}

void Lookahead::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    has_work_.wait(lock, [this] { return is_over_ || !waiting_.empty(); });
    if (is_over_) return;
    const std::shared_ptr<Task> task = std::move(waiting_.front());
    waiting_.pop_front();
    task->stage = Stage::kBuilding;
    lock.unlock();
    try {
      task->state = task->build();
    } catch (...) {
      task->error = std::current_exception();
    }
    task->build = nullptr;  // it holds the parent
    lock.lock();
    task->stage = Stage::kDone;
    has_built_.notify_all();
  }
}

}  // namespace xflowrl
