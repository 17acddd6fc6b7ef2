#include "kernels/base/arena.h"

#include <algorithm>

namespace natrix {
namespace {
constexpr int64_t kAlignment = 64;
constexpr int64_t kFirstBlock = int64_t{1} << 20;
}  // namespace

View Arena::take(Dtype dtype, Shape shape) {
  const int64_t bytes = (checked_bytes(dtype, shape) + kAlignment) / kAlignment * kAlignment;
  while (current_ < blocks_.size() && offset_ + bytes > blocks_[current_].bytes()) {
    filled_[current_] = offset_;
    ++current_;
    offset_ = 0;
  }
  if (current_ == blocks_.size()) {
    const int64_t previous = blocks_.empty() ? kFirstBlock / 2 : blocks_.back().bytes();
    blocks_.emplace_back(Dtype::kU8, Shape{std::max(bytes, 2 * previous)});
    filled_.push_back(0);
  }
  View v(blocks_[current_].view().as<uint8_t>() + offset_, dtype, shape);
  offset_ += bytes;
  peak_ = std::max(peak_, used());
  return v;
}

View Arena::zeros(Dtype dtype, Shape shape) {
  View v = take(dtype, shape);
  fill_zero(v);
  return v;
}

void Arena::reset() {
  rewind(0, 0);
  if (blocks_.size() > 1) {
    const int64_t total = std::max(peak_, kFirstBlock);
    blocks_.clear();
    filled_.assign(1, 0);
    blocks_.emplace_back(Dtype::kU8, Shape{total + kAlignment});
  }
}

int64_t Arena::used() const {
  int64_t n = offset_;
  for (size_t i = 0; i < current_; ++i) n += filled_[i];
  return n;
}

void Arena::rewind(size_t block, int64_t offset) {
  current_ = block;
  offset_ = offset;
}

}  // namespace natrix
