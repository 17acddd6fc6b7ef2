#include "distributed/shared_rows.h"

#include <algorithm>

#include "kernels/activation.h"

namespace natrix {
namespace {

/// The index of the part of `store` that begins at token `first`.
int64_t part_at(RowStore& store, int64_t first) {
  const std::vector<int64_t>& cuts = store.cuts();
  const auto found = std::ranges::lower_bound(cuts, first);
  require(found != cuts.end() && *found == first, "a segment that begins where no rank's slice begins");
  return found - cuts.begin();
}

}  // namespace

/// Rows of the tokens [first, last), contiguous.
Buffer SharedRows::part_of(const RowStore& store, int64_t first, int64_t last) {
  Buffer rows(store.format().dtype, {store.batch(), last - first, store.format().width()}, store.memory());
  store.read(ctx_, first, rows.view());
  return rows;
}

void SharedRows::resume(const CarryStates* states) {
  receive_ends();
  rows_.clear();
  gradients_.clear();
  if (states != nullptr && axis_.rank() == 0) rows_ = copy_of_rows(*states);
  boundary_ = false;
  segment_ = -1;
}

void SharedRows::rejoin(const CarryStates& boundary) {
  receive_ends();
  rows_.clear();
  for (const auto& [key, rows] : boundary.appended()) rows_.put_rows(key, rows);
  boundary_ = true;
  segment_ = -1;
}

void SharedRows::begin_segment(bool last) {
  ++segment_;
  last_ = last;
}

void SharedRows::receive_ends() {
  for (const auto& [key, tokens] : ends_) {
    for (int q = 1; q < axis_.size(); ++q) receive_rows(*rows_.rows_at(key).store, q, tokens);
  }
  ends_.clear();
}

void SharedRows::put_end(CarryStates& end) {
  receive_ends();
  for (const auto& [key, rows] : rows_.appended()) end.put_rows(key, {rows.store, rows.store->length()});
}

History SharedRows::append(CarryKey key, const RowFormat& format, View rows) {
  if (boundary_) return run_again(key, format, rows);
  const int me = axis_.rank(), ranks = axis_.size();
  const int64_t tokens = rows.extent(1);
  const std::shared_ptr<RowStore> store =
      segment_ == 0 ? begin_rows(key, format, rows.extent(0)) : rows_.rows_at(key).store;
  const int first_peer =
      segment_ == 0 ? ranks : me + 1;  // those after this rank, in the super-segment before
  for (int q = first_peer; q < ranks; ++q) receive_rows(*store, q, tokens);
  for (int q = 0; q < me; ++q) receive_rows(*store, q, tokens);

  const int64_t first = store->length();
  store->write(ctx_, first, rows);
  store->cuts().push_back(store->length());
  const Buffer mine = part_of(*store, first, first + tokens);
  for (int q = 0; q < ranks; ++q) {
    const bool needs = q > me || !last_ || (q == 0 && first_ends_);
    if (q != me && needs) send_rows(mine.view(), q);
  }
  if (last_ && first_ends_ && me == 0) ends_.emplace_back(key, tokens);
  rows_.put_rows(key, {store, first + tokens});
  return {.rows = store, .first = first, .length = first + tokens};
}

/// A segment of a sweep that began at a boundary. The rows of other ranks are in the store.
History SharedRows::run_again(CarryKey key, const RowFormat& format, View rows) {
  const History history = append_to(ctx_, rows_.rows_at(key), format, rows);
  RowStore& store = *history.rows;
  const int64_t next = part_at(store, history.first) + axis_.size();
  const bool known = next < std::ssize(store.cuts());
  rows_.put_rows(key, {history.rows, known ? store.cuts()[static_cast<size_t>(next)] : store.length()});
  return history;
}

/// The rows before the sequence, which the first rank has.
std::shared_ptr<RowStore> SharedRows::begin_rows(CarryKey key, const RowFormat& format, int64_t batch) {
  const AppendedRows begin = rows_.rows_at(key);
  auto store = begin.store ? begin.store : std::make_shared<RowStore>(format, batch, ctx_.memory());
  if (axis_.rank() == 0) {
    const Buffer rows = part_of(*store, 0, store->length());
    for (int q = 1; q < axis_.size(); ++q) send_rows(rows.view(), q);
  } else {
    receive_rows(*store, 0, 0);
  }
  store->cuts() = {store->length()};
  return store;
}

void SharedRows::send_rows(View rows, int peer) {
  int64_t count = rows.extent(1);
  axis_.send(ctx_, View(&count, Dtype::kI64, {1}), peer);
  if (count > 0) axis_.send(ctx_, rows, peer);
}

/// Behind those that the store has. A dry run receives no count and assumes `dry_count`.
void SharedRows::receive_rows(RowStore& store, int peer, int64_t dry_count) {
  int64_t count = 0;
  axis_.receive(ctx_, View(&count, Dtype::kI64, {1}), peer);
  if (ctx_.dry()) count = dry_count;
  if (count > 0) {
    const Buffer rows(store.format().dtype, {store.batch(), count, store.format().width()}, store.memory());
    axis_.receive(ctx_, rows.view(), peer);
    store.write(ctx_, store.length(), rows.view());
  }
  store.cuts().push_back(store.length());
}

History SharedRows::row_gradients(CarryKey key, const History& history) {
  AppendedRows all = gradients_.rows_at(key);
  if (!all.store) {
    const RowStore& rows = *history.rows;
    all.store = std::make_shared<RowStore>(rows.format(), rows.batch(), rows.memory());
    all.store->fill_zero(history.length);
  }
  all.store->cuts() = history.rows->cuts();
  gradients_.put_rows(key, {all.store, history.length});
  return {.rows = all.store, .first = history.first, .length = history.length};
}

void SharedRows::collect(CarryKey, const History& gradients, View rows) {
  RowStore& all = *gradients.rows;
  const int me = axis_.rank(), ranks = axis_.size();
  const int64_t mine = part_at(all, gradients.first), line = mine - me;  // the super-segment's first part
  for (int q = 0; q < me; ++q) send_gradients(all, line + q, q);
  for (int q = me + 1; q < ranks && line > 0; ++q) send_gradients(all, line - ranks + q, q);
  all.read(ctx_, gradients.first, rows);
  for (int q = me + 1; q < ranks; ++q) add_gradients(rows, q);
  for (int q = 0; q < me && segment_ > 0; ++q) add_gradients(rows, q);
  all.truncate(all.cuts()[static_cast<size_t>(line)]);
}

void SharedRows::send_gradients(RowStore& gradients, int64_t part, int peer) {
  const std::vector<int64_t>& cuts = gradients.cuts();
  const auto i = static_cast<size_t>(part);
  axis_.send(ctx_, part_of(gradients, cuts[i], cuts[i + 1]).view(), peer);
}

void SharedRows::add_gradients(View rows, int peer) {
  const Buffer theirs(rows.dtype, rows.shape, memory_of(rows.data));
  axis_.receive(ctx_, theirs.view(), peer);
  accumulate(ctx_, {.x = theirs.view(), .y = rows});
}

}  // namespace natrix
