// Arena: a bump allocator that lives for one segment. Activations, what backward needs, and kernel scratch
// all come from it, in stack order. Peak memory therefore depends on the segment and not on the sequence.
//
//   Arena::Frame frame(arena);        // everything allocated after this line …
//   View scratch = arena.take(…);     // … is released when `frame` ends
//
// Memory is not zeroed. Blocks are kept for the next segment. Once everything is released
// they merge into one.
#pragma once

#include <memory>
#include <vector>

#include "kernels/base/buffer.h"

namespace natrix {

class Arena {
 public:
  explicit Arena(Memory memory = Memory::kHost) : memory_(memory) {}
  View take(Dtype dtype, Shape shape);
  /// An uninitialised view of the same dtype and shape (contiguous whatever the stride of `like`).
  View like(View v) { return take(v.dtype, v.shape); }
  View zeros(Dtype dtype, Shape shape);

  /// Releases everything.
  void reset() { rewind(0, 0); }
  int64_t used() const;
  int64_t peak() const { return peak_; }  // peak bytes in use since the last clear_peak()
  void clear_peak() { peak_ = used(); }
  /// Changes whenever the blocks change. While it stays the same, the same calls return the same addresses.
  uint64_t generation() const { return generation_; }

  /// On destruction, releases everything allocated since its construction. Frames nest.
  class Frame {
   public:
    explicit Frame(Arena& arena) : arena_(arena), block_(arena.current_), offset_(arena.offset_) {}
    ~Frame() { arena_.rewind(block_, offset_); }
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;

   private:
    Arena& arena_;
    size_t block_;
    int64_t offset_;
  };

 private:
  struct Block {
    std::unique_ptr<void, Release> memory;
    int64_t size = 0;
    int64_t filled = 0;  // bytes in use when the next block was started
  };
  Block new_block(int64_t size) const;
  void rewind(size_t block, int64_t offset);

  Memory memory_;
  std::vector<Block> blocks_;
  size_t current_ = 0;  // index of the block in use
  int64_t offset_ = 0;  // bytes of it in use
  int64_t peak_ = 0;
  uint64_t generation_ = 0;
};

}  // namespace natrix
