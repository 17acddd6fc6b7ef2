// CarryStates: all that is carried across one boundary of the sequence. Chunked training keeps one for each
// boundary in memory; a state file holds one (core/io/state_file.h).
//
// The size of affine states does not depend on the sequence's length. Appended rows are shared with the route
// that collects them, so that a boundary stores only how many there are. A state that is put stays in the kind
// of memory that it came from, host or device.
#pragma once

#include <map>

#include "core/carry/carry_link.h"
#include "kernels/base/buffer.h"

namespace natrix {

/// The rows of an append carry before a boundary.
struct AppendedRows {
  std::shared_ptr<RowStore> store;
  int64_t length = 0;  // of the rows in the store, those before the boundary
};

class CarryStates {
 public:
  /// The stored state, or an empty view (zero).
  View at(CarryKey key) const;
  /// Copies `state`, unless it is the stored state itself. Reuses the memory of an earlier state of the same
  /// shape, dtype and kind of memory. An empty view removes the entry.
  void put(CarryKey key, View state);
  /// Allocates memory for a state that the caller writes through at(). Earlier contents may be lost.
  void make(CarryKey key, Dtype dtype, const Shape& shape, Memory memory = Memory::kHost);
  void clear() {
    states_.clear();
    appended_.clear();
    ragged_.clear();
  }
  bool empty() const { return states_.empty() && appended_.empty() && ragged_.empty(); }
  /// Bytes of the affine states.
  int64_t bytes() const;

  const std::map<CarryKey, Buffer>& entries() const { return states_; }

  /// The appended rows up to this boundary. Without any, the store is null and the length 0.
  AppendedRows rows_at(CarryKey key) const;
  /// Shares the store.
  void put_rows(CarryKey key, AppendedRows rows) { appended_[key] = std::move(rows); }
  const std::map<CarryKey, AppendedRows>& appended() const { return appended_; }

  /// Appended rows of a batch whose sequences have different lengths: a store for each sequence. A key has
  /// these, or rows_at().
  const std::map<CarryKey, std::vector<AppendedRows>>& ragged() const { return ragged_; }
  /// Shares the store.
  void put_row(CarryKey key, int64_t b, AppendedRows rows);

 private:
  std::map<CarryKey, Buffer> states_;
  std::map<CarryKey, AppendedRows> appended_;
  std::map<CarryKey, std::vector<AppendedRows>> ragged_;
};

/// A copy that does not change with the original. Pages of appended rows are shared until one side writes.
CarryStates copy_of(const CarryStates& states);
CarryStates copy_of(const CarryStates& states, Memory memory);
/// Likewise, of the appended rows alone.
CarryStates copy_of_rows(const CarryStates& states);

}  // namespace natrix
