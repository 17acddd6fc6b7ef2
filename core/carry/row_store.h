// RowStore: the rows that an append carry has collected, such as the keys of an attention layer: one row per
// token and row of the batch.
//
// Rows lie in pages of kPageRows tokens. Pages never move, so adding rows copies nothing but the new rows.
// Copies of a store share its pages; a store copies a shared page before it writes into it. Token i is always
// in page i / kPageRows, so blocks of keys begin at the same tokens however a sequence is cut into segments.
#pragma once

#include <memory>
#include <vector>

#include "kernels/base/buffer.h"

namespace natrix {

class RowStore {
 public:
  static constexpr int64_t kPageRows = 128;

  /// width: elements of one row.
  RowStore(Dtype dtype, int64_t batch, int64_t width, Memory memory)
      : dtype_(dtype), batch_(batch), width_(width), memory_(memory) {}

  Dtype dtype() const { return dtype_; }
  int64_t batch() const { return batch_; }
  int64_t width() const { return width_; }
  Memory memory() const { return memory_; }
  /// The number of tokens whose rows were written.
  int64_t length() const { return length_; }
  int64_t pages() const { return static_cast<int64_t>(pages_.size()); }
  /// Memory of all pages that this store holds; shared pages count fully.
  int64_t bytes() const;

  /// Writes rows [B, T, width] of the tokens [first, first + T). first ≤ length(). Rows beyond stay valid: a
  /// segment that runs again writes what is there already.
  void write(int64_t first, View rows);
  /// Copies the rows of the tokens [first, first + T) into rows [B, T, width]. Rows in pages that are not held
  /// read as zero.
  void read(int64_t first, View rows) const;
  /// Makes the store at least `length` tokens long. New rows are zero. Pages that end before token `from` are
  /// not allocated.
  void grow_zero(int64_t length, int64_t from = 0);
  /// Cuts the store to `length` tokens and frees the pages beyond.
  void truncate(int64_t length);
  /// Frees pages that end before token `from`.
  void drop_before(int64_t from);
  /// The first token whose rows are held.
  int64_t begin() const;

  /// Rows [kPageRows, width] of one row of the batch in page `page`: kPageRows · width contiguous elements.
  /// Empty if the page is not held.
  View page(int64_t page, int64_t row) const;
  /// Copies all pages that other stores share, so that page() may be written through.
  void own();

  /// Where the parts of different ranks begin, ascending, if several ranks share the sequence.
  std::vector<int64_t>& cuts() { return cuts_; }

  /// The tokens from begin() on, in `memory`. Shares pages where the memory is the same.
  RowStore copy_in(Memory memory) const;

 private:
  using Page = std::shared_ptr<Buffer>;  // [batch, kPageRows, width]

  Buffer& writable(int64_t page);
  /// Calls f(page, first row in the page, first row of the range, count) for the pages of a range of tokens.
  template <class F>
  static void for_pages(int64_t first, int64_t count, F&& f);

  Dtype dtype_;
  int64_t batch_, width_;
  Memory memory_;
  int64_t length_ = 0;
  std::vector<Page> pages_;  // null: not held
  std::vector<int64_t> cuts_;
};

/// The rows of a layer's append carry up to and including one segment. In backward, a history holds the
/// gradients of these rows.
struct History {
  std::shared_ptr<RowStore> rows;
  int64_t first = 0;   // index of the segment's first row
  int64_t length = 0;  // the rows before and of the segment
};

}  // namespace natrix
