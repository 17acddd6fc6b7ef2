#include "kernels/base/arena.h"

#include <algorithm>
#include <fmt/format.h>

namespace natrix {
namespace {
constexpr int64_t kAlignment = 256;  // of device memory; a multiple of a cache line
constexpr int64_t kSmallestBlock = int64_t{1} << 20;
// Blocks stop doubling here: an untouched page costs little, but not nothing.
constexpr int64_t kLargestStep = int64_t{64} << 20;
constexpr int64_t kDryBlock = int64_t{1} << 42;  // dry addresses cost nothing
}  // namespace

Arena::Block Arena::new_block(int64_t size) const {
  void* p = allocate(memory_, size);
  if (p == nullptr) {
    throw RunError(
        fmt::format("out of {}memory: {} MiB for activations; a smaller --chunk, batch or model needs less",
                    memory_ == Memory::kDevice ? "device " : "", size >> 20));
  }
  return {.memory = std::unique_ptr<void, Release>(p, Release{memory_}), .size = size};
}

View Arena::take(Dtype dtype, Shape shape) {
  const int64_t bytes = (checked_bytes(dtype, shape) + kAlignment) / kAlignment * kAlignment;
  while (current_ < blocks_.size() && offset_ + bytes > blocks_[current_].size) {
    blocks_[current_].filled = offset_;
    ++current_;
    offset_ = 0;
  }
  if (current_ == blocks_.size()) {
    const int64_t step = memory_ == Memory::kDry ? kDryBlock
                         : blocks_.empty()       ? kSmallestBlock
                                                 : std::min(2 * blocks_.back().size, kLargestStep);
    blocks_.push_back(new_block(std::max(bytes, step)));
    ++generation_;
  }
  View v(static_cast<char*>(blocks_[current_].memory.get()) + offset_, dtype, shape);
  offset_ += bytes;
  peak_ = std::max(peak_, used());
  return v;
}

View Arena::zeros(Dtype dtype, Shape shape) {
  View v = take(dtype, shape);
  fill_zero(v);
  return v;
}

int64_t Arena::used() const {
  int64_t n = offset_;
  for (size_t i = 0; i < current_; ++i) n += blocks_[i].filled;
  return n;
}

void Arena::rewind(size_t block, int64_t offset) {
  current_ = block;
  offset_ = offset;
  if (block == 0 && offset == 0 && blocks_.size() > 1) {
    int64_t total = 0;
    for (const Block& b : blocks_) total += b.size;
    blocks_.clear();  // before allocating the new one: the two may not fit into memory together
    blocks_.push_back(new_block(total));
    ++generation_;
  }
}

}  // namespace natrix
