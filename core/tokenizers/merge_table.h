// MergeTable: from a pair of neighbouring tokens to their merge. Open addressing; a lookup is one or two cache lines.
#pragma once

#include <cstdint>
#include <vector>

namespace natrix {

class MergeTable {
 public:
  struct Merge {
    int32_t rank = kNone;  // place in the list of merges; smaller merges first
    int32_t token = 0;     // what the pair becomes
  };
  static constexpr int32_t kNone = INT32_MAX;

  explicit MergeTable(size_t most_merges) {
    size_t size = 16;
    while (size < 2 * most_merges) size *= 2;
    slots_.resize(size);
  }
  /// Keeps the first merge of a pair.
  void add(int32_t left, int32_t right, Merge merge) {
    Slot& slot = slots_[find(left, right)];
    if (slot.merge.rank == kNone) slot = {left, right, merge};
  }
  /// rank is kNone where the pair does not merge.
  Merge operator()(int32_t left, int32_t right) const { return slots_[find(left, right)].merge; }

 private:
  struct Slot {
    int32_t left = 0, right = 0;
    Merge merge;
  };
  /// The pair's slot, or the empty one where it belongs.
  size_t find(int32_t left, int32_t right) const {
    const uint64_t pair =
        static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
    size_t i = static_cast<size_t>((pair * 0x9E3779B97F4A7C15ull) >> 20) & (slots_.size() - 1);
    while (slots_[i].merge.rank != kNone && (slots_[i].left != left || slots_[i].right != right))
      i = (i + 1) & (slots_.size() - 1);
    return i;
  }

  std::vector<Slot> slots_;
};

}  // namespace natrix
