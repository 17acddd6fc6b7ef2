// RowStore: the rows that an append carry has collected: the keys and values of an attention layer, of every
// token and row of the batch so far.
//
// They lie in pages of kPageRows tokens (kernels/key_value_pages.h). Pages never move, so adding rows copies
// nothing but the new rows. Copies of a store share its pages; a store copies a shared page before it writes
// into it. Token i is always in page i / kPageRows, so blocks of keys begin at the same tokens however a
// sequence is cut into segments.
#pragma once

#include <memory>
#include <vector>

#include "kernels/key_value_pages.h"

namespace natrix {

/// A row holds a token's keys [heads, head_dim], then its values.
struct RowFormat {
  Dtype dtype = Dtype::kF32;
  int64_t heads = 1, head_dim = 1;
  int64_t width() const { return 2 * heads * head_dim; }
  bool operator==(const RowFormat&) const = default;
};

class RowStore {
 public:
  RowStore(const RowFormat& format, int64_t batch, Memory memory)
      : format_(format), batch_(batch), memory_(memory) {}

  const RowFormat& format() const { return format_; }
  int64_t batch() const { return batch_; }
  Memory memory() const { return memory_; }
  /// The number of tokens whose rows were written.
  int64_t length() const { return length_; }
  /// The first token whose rows are held.
  int64_t begin() const;
  /// Memory of all pages that this store holds; shared pages count fully.
  int64_t bytes() const;

  /// Memory of the pages for rows of the tokens [first, tokens).
  static int64_t bytes_for(const RowFormat& format, int64_t batch, int64_t tokens, int64_t first = 0);

  /// Writes rows [B, T, width] of the tokens [first, first + T). first ≤ length(). Rows beyond stay valid: a
  /// segment that runs again writes what is there already.
  void write(Context& ctx, int64_t first, View rows);
  /// Copies the rows of the tokens [first, first + T) into rows [B, T, width]. Those that are not held read as
  /// zero.
  void read(Context& ctx, int64_t first, View rows) const;
  /// Makes an empty store `length` tokens long. Rows are zero. Pages that end before token `from` are not held.
  void fill_zero(int64_t length, int64_t from = 0);
  /// Cuts the store to `length` tokens and frees the pages beyond.
  void truncate(int64_t length);
  /// Frees pages that end before token `from`.
  void drop_before(int64_t from);
  /// Copies all pages that other stores share, so that a kernel may write into pages().
  void own();

  /// The first `length` tokens, for kernels. Valid until the store changes. Pages that are not held all point
  /// to one spare page, which kernels may write: its contents mean nothing.
  KeyValuePages pages(int64_t length) const;

  /// Where the parts of different ranks begin, ascending, if several ranks share the sequence.
  std::vector<int64_t>& cuts() { return cuts_; }

  /// The same rows, in `memory`. Shares pages where the memory is the same.
  RowStore copy_in(Memory memory) const;

 private:
  using Page = std::shared_ptr<Buffer>;  // [batch, page_elements]

  int64_t held() const { return static_cast<int64_t>(pages_.size()); }
  Buffer& writable(int64_t page);
  Page new_page() const;

  RowFormat format_;
  int64_t batch_;
  Memory memory_;
  int64_t length_ = 0;
  std::vector<Page> pages_;  // null: not held
  std::vector<int64_t> cuts_;
  mutable Page spare_;
  mutable std::vector<void*> table_;  // [batch, pages]: what pages() returns; empty when it has to be made
};

/// The rows of a layer's append carry up to and including one segment. In backward, a history holds the
/// gradients of these rows.
struct History {
  std::shared_ptr<RowStore> rows;
  int64_t first = 0;   // index of the segment's first row
  int64_t length = 0;  // the rows before and of the segment

  KeyValuePages pages() const { return rows->pages(length); }
};

}  // namespace natrix
