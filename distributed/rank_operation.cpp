#include "distributed/rank_operation.h"

#include <algorithm>
#include <utility>

#include "distributed/waiting.h"

namespace natrix {
namespace {

double seconds(OperationBook::Clock::duration d) {
  return std::chrono::duration<double>(d).count();
}

}  // namespace

Buffer ScratchPool::take(int64_t bytes) {
  if (bytes == 0) return {};
  const auto smaller = [](const Buffer& a, const Buffer& b) { return a.bytes() < b.bytes(); };
  Buffer scratch;
  if (!idle_.empty()) {
    // Reuse the smallest buffer that is large enough. If there is none, replace the largest by a larger one.
    auto chosen = idle_.end();
    for (auto b = idle_.begin(); b != idle_.end(); ++b) {
      if (b->bytes() >= bytes && (chosen == idle_.end() || smaller(*b, *chosen))) chosen = b;
    }
    if (chosen == idle_.end()) chosen = std::max_element(idle_.begin(), idle_.end(), smaller);
    if (chosen->bytes() >= bytes) scratch = std::move(*chosen);
    idle_.erase(chosen);
  }
  if (!scratch) scratch = Buffer(Dtype::kU8, {bytes}, memory_);
  out_ += scratch.bytes();
  int64_t all = out_;
  for (const Buffer& b : idle_) all += b.bytes();
  bytes_ = std::max(bytes_, all);
  return scratch;
}

void ScratchPool::give_back(Buffer scratch) {
  if (!scratch) return;
  out_ -= scratch.bytes();
  idle_.push_back(std::move(scratch));
}

void OperationBook::begin() {
  if (under_way++ == 0) since = Clock::now();
}

OperationBook::Clock::time_point OperationBook::end() {
  const Clock::time_point now = Clock::now();
  if (--under_way == 0) traffic.under_way += seconds(now - since);
  return now;
}

RankOperation::RankOperation(OperationBook& book, Watch& watch, std::unique_ptr<Exchange> first, Then then,
                             Buffer scratch)
    : book_(book),
      watch_(watch),
      exchange_(std::move(first)),
      then_(std::move(then)),
      scratch_(std::move(scratch)) {
  watch_.under_way.push_back(this);
  book_.begin();
}

RankOperation::~RankOperation() {
  std::erase(watch_.under_way, this);
  if (exchange_) end();  // an exception is unwinding
}

bool RankOperation::poll() {
  while (exchange_ && exchange_->poll()) {
    const Then then = std::exchange(then_, nullptr);
    exchange_ = then ? then() : nullptr;
    if (!exchange_) end();
  }
  return !exchange_;
}

void RankOperation::wait() {
  if (!exchange_) return;
  const auto begin = OperationBook::Clock::now();
  wait_until(
      watch_, [&] { return poll(); }, [&] { return exchange_->lost(); });
  book_.traffic.waiting += seconds(ended_ - begin);
}

void RankOperation::end() {
  exchange_.reset();  // before freeing the memory that it writes
  book_.scratch.give_back(std::move(scratch_));
  ended_ = book_.end();
}

}  // namespace natrix
