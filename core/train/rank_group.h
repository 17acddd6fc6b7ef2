// RankGroup: what a training run asks of the other ranks. A port: OneProcess needs nobody;
// distributed/mesh_group.h answers for many.
//
// All ranks call the same functions in the same order. Sums are in the order of ranks, so that every rank
// sees the same bits.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/layers/param.h"
#include "core/sequence/carry_route.h"
#include "core/train/rank_share.h"
#include "kernels/base/context.h"

namespace natrix {

class RankGroup {
 public:
  virtual ~RankGroup() = default;
  virtual int rank() const = 0;  // 0 prints and writes
  virtual int size() const = 0;
  virtual RankShare share() const = 0;
  /// Where carried states, and their gradients, come from and go to.
  virtual CarryRoute& states() = 0;
  virtual CarryRoute& gradients() = 0;

  /// For the words of a rank that waits in vain.
  virtual void begin_step(int64_t step) = 0;
  /// figures = their sums over all ranks.
  virtual void sum(Context& ctx, std::span<double> figures) = 0;
  /// The sum over one holder of each share of what is spread (Param::spread_of), such as the experts' squared
  /// norms.
  virtual double sum_over_owners(Context& ctx, double x) = 0;
  virtual int64_t largest(Context& ctx, int64_t x) = 0;
  /// The end states of rows that the ranks of cp read together (CarryRoute::end_states): from the rank that
  /// has them to the first, which goes on from them. Nothing on the others.
  virtual CarryStates to_first(Context& ctx, const CarryStates& end) = 0;
  /// States of all rows of a step, in order, on rank 0, from the first ranks of cp, which have those of their
  /// rows. Nothing on the others.
  virtual CarryStates gather_rows(Context& ctx, const CarryStates& mine) = 0;
  /// Every gradient = its sum over the ranks that hold the parameter.
  virtual void sum_gradients(Context& ctx, const std::vector<Param*>& params) = 0;
  /// A spread parameter's tensor (its value, or a moment of the optimizer), whole, on rank 0; nothing
  /// elsewhere.
  virtual Buffer whole(Context& ctx, const Param& param, View mine) = 0;
  /// Rank 0's text.
  virtual std::string from_first(Context& ctx, const std::string& text) = 0;
  /// Of this rank so far, for others.
  virtual double seconds_waited() const = 0;
};

class OneProcess final : public RankGroup {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  RankShare share() const override { return {}; }
  CarryRoute& states() override { return states_; }
  CarryRoute& gradients() override { return gradients_; }
  void begin_step(int64_t) override {}
  void sum(Context&, std::span<double>) override {}
  double sum_over_owners(Context&, double x) override { return x; }
  int64_t largest(Context&, int64_t x) override { return x; }
  CarryStates to_first(Context&, const CarryStates& end) override { return copy_of(end); }
  CarryStates gather_rows(Context&, const CarryStates& mine) override { return copy_of(mine); }
  void sum_gradients(Context&, const std::vector<Param*>&) override {}
  Buffer whole(Context&, const Param& param, View) override {
    require(param.spread_of == 0, "a share of a parameter, and no rank that has the rest");
    return {};
  }
  std::string from_first(Context&, const std::string& text) override { return text; }
  double seconds_waited() const override { return 0; }

 private:
  LocalRoute states_, gradients_;
};

}  // namespace natrix
