// SharedRows: appended rows where several ranks share a sequence (parallel.cp). Every rank collects the rows of
// the whole sequence up to its own slice.
//
//   forward    In a super-segment a rank needs the rows of the ranks before it, and of all ranks in the
//              super-segments before. So each rank sends its rows to all others. Those after it receive them in
//              the same super-segment, those before it in the next one.
//   backward   Each rank adds gradients to its own copy of all rows. The sums for a slice travel to its owner:
//              from the ranks after it in the same super-segment, from those before it one super-segment
//              earlier in the sweep, when they are final.
//
// Runs that begin at a boundary find all rows in the store already and send nothing.
#pragma once

#include "core/carry/carry_route.h"
#include "distributed/communicator.h"

namespace natrix {

class SharedRows {
 public:
  /// `axis` and `ctx` are borrowed. first_ends: whether the first rank, too, needs all rows at the end of a
  /// sweep; otherwise only the last rank has them.
  SharedRows(Communicator& axis, Context& ctx, bool first_ends)
      : axis_(axis), ctx_(ctx), first_ends_(first_ends) {}

  void resume(const CarryStates* states);
  void rejoin(const CarryStates& boundary);
  void begin_segment(bool last);
  /// Adds the rows that this rank holds at the end of a sweep.
  void put_end(CarryStates& end);

  History append(CarryKey key, const RowFormat& format, View rows);
  History row_gradients(CarryKey key, const History& history);
  void collect(CarryKey key, const History& gradients, View rows);

 private:
  History run_again(CarryKey key, const RowFormat& format, View rows);
  std::shared_ptr<RowStore> begin_rows(CarryKey key, const RowFormat& format, int64_t batch);
  void receive_ends();
  void send_rows(View rows, int peer);
  void receive_rows(RowStore& store, int peer, int64_t dry_count);
  Buffer part_of(const RowStore& store, int64_t first, int64_t last);
  void send_gradients(RowStore& gradients, int64_t part, int peer);
  void add_gradients(View rows, int peer);

  Communicator& axis_;
  Context& ctx_;
  bool first_ends_;
  CarryStates rows_;       // forward: where the segments so far end
  CarryStates gradients_;  // backward
  bool fresh_ = true, boundary_ = false, last_ = false;
  int64_t segment_ = -1;  // counted from resume or rejoin
  /// The first rank: rows of the last super-segment that the other ranks send, and how many a dry run assumes.
  /// They arrive after those of all layers in the super-segment before, so they are received later.
  std::vector<std::pair<CarryKey, int64_t>> ends_;
};

}  // namespace natrix
