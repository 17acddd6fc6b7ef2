// Collectives: small collective operations over all ranks of a run.
//
// All ranks must call the same functions in the same order. Sums add in the order of ranks, so every rank
// gets the same bits.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "kernels/base/context.h"

namespace natrix {

class Collectives {
 public:
  virtual ~Collectives() = default;
  virtual int rank() const = 0;  // rank 0 prints, and writes files
  virtual int size() const = 0;

  /// All-reduce: replaces each figure by its sum over all ranks.
  virtual void sum(Context& ctx, std::span<double> figures) = 0;
  /// All-reduce: returns the largest x of all ranks.
  virtual int64_t max(Context& ctx, int64_t x) = 0;
  /// Returns when every rank has called it.
  void barrier(Context& ctx) { max(ctx, 0); }
  /// Returns the text of rank `root` on every rank.
  virtual std::string broadcast(Context& ctx, int64_t root, const std::string& text) = 0;

  /// Sets the step number, which timeout messages show.
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
