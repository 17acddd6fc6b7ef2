// Collectives: what any part of a run may ask of all ranks together.
//
// All ranks call the same functions in the same order. Sums add in the order of ranks, so every rank sees the
// same bits.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "kernels/base/context.h"

namespace natrix {

class Collectives {
 public:
  virtual ~Collectives() = default;
  virtual int rank() const = 0;  // 0 prints and writes
  virtual int size() const = 0;

  /// figures = their sums over all ranks.
  virtual void sum(Context& ctx, std::span<double> figures) = 0;
  /// The largest x of all ranks.
  virtual int64_t max(Context& ctx, int64_t x) = 0;
  /// Returns when every rank has called it.
  void barrier(Context& ctx) { max(ctx, 0); }
  /// The text of rank `root`, on every rank.
  virtual std::string broadcast(Context& ctx, int64_t root, const std::string& text) = 0;

  /// Step number, used in timeout messages.
  virtual void begin_step(int64_t step) = 0;
  /// Seconds that this rank has spent waiting for other ranks.
  virtual double seconds_waited() const = 0;
};

/// One rank: every collective is a copy.
class OneRank final : public Collectives {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void sum(Context&, std::span<double>) override {}
  int64_t max(Context&, int64_t x) override { return x; }
  std::string broadcast(Context&, int64_t, const std::string& text) override { return text; }
  void begin_step(int64_t) override {}
  double seconds_waited() const override { return 0; }
};

}  // namespace natrix
