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
  struct Place {
    int64_t index = 0, count = 1;
  };

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
  /// A figure of all gradients, such as their squared norm, from this rank's: of the parameters that all
  /// ranks hold, and of those that are spread (Param::spread_of); as far as they are in owned_gradients().
  virtual double sum_over_owners(Context& ctx, double everywhere, double spread) = 0;
  virtual int64_t largest(Context& ctx, int64_t x) = 0;
  /// This rank adds nothing more to the gradients of params[first] and those after it: they may travel while
  /// backward goes on. Called as often as there is news, with ever fewer left; sum_gradients ends it.
  virtual void gradients_done(Context& ctx, const std::vector<Param*>& params, size_t first) = 0;
  /// The end states of rows that the ranks of cp read together (CarryRoute::end_states): from the rank that
  /// has them to the first, which goes on from them. Nothing on the others.
  virtual CarryStates to_first(Context& ctx, const CarryStates& end) = 0;
  /// States of all rows of a step, in order, on rank 0, from the first ranks of cp, which have those of their
  /// rows. Nothing on the others.
  virtual CarryStates gather_rows(Context& ctx, const CarryStates& mine) = 0;
  /// Every gradient = its sum over the ranks that hold the parameter; of those that are in owned_gradients().
  virtual void sum_gradients(Context& ctx, const std::vector<Param*>& params) = 0;
  /// The gradients whose parameters this rank updates, in stretches, ascending: all of them, or, where ranks
  /// share out the optimizer's state (parallel.zero), its share.
  virtual std::vector<View> owned_gradients(const std::vector<Param*>& params) = 0;
  virtual bool shares_updates() const = 0;
  /// After an update: every value = that of the rank that updated it.
  virtual void share_values(Context& ctx, const std::vector<Param*>& params) = 0;
  /// This rank among those that hold the same of a parameter.
  virtual Place place(const Param& param) const = 0;
  /// A spread parameter's tensor, its value or its gradient, whole, on rank 0; nothing elsewhere.
  virtual Buffer whole(Context& ctx, const Param& param, View mine) = 0;
  /// The text of one of the ranks.
  virtual std::string from(Context& ctx, int64_t rank, const std::string& text) = 0;
  std::string from_first(Context& ctx, const std::string& text) { return from(ctx, 0, text); }
  /// Of this rank so far, for others.
  virtual double seconds_waited() const = 0;
};

/// Of each parameter that has one, flat.
inline std::vector<View> gradients_of_each(const std::vector<Param*>& params) {
  std::vector<View> all;
  for (const Param* p : params) {
    if (p->grad) all.push_back(p->grad.reshaped({p->grad.count()}));
  }
  return all;
}

class OneProcess : public RankGroup {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  RankShare share() const override { return {}; }
  CarryRoute& states() override { return states_; }
  CarryRoute& gradients() override { return gradients_; }
  void begin_step(int64_t) override {}
  void sum(Context&, std::span<double>) override {}
  double sum_over_owners(Context&, double everywhere, double spread) override { return everywhere + spread; }
  int64_t largest(Context&, int64_t x) override { return x; }
  void gradients_done(Context&, const std::vector<Param*>&, size_t) override {}
  CarryStates to_first(Context&, const CarryStates& end) override { return copy_of(end); }
  CarryStates gather_rows(Context&, const CarryStates& mine) override { return copy_of(mine); }
  void sum_gradients(Context&, const std::vector<Param*>&) override {}
  std::vector<View> owned_gradients(const std::vector<Param*>& params) override {
    return gradients_of_each(params);
  }
  bool shares_updates() const override { return false; }
  void share_values(Context&, const std::vector<Param*>&) override {}
  Place place(const Param&) const override { return {}; }
  Buffer whole(Context&, const Param& param, View) override {
    require(param.spread_of == 0, "a share of a parameter, and no rank that has the rest");
    return {};
  }
  std::string from(Context&, int64_t, const std::string& text) override { return text; }
  double seconds_waited() const override { return 0; }

 private:
  LocalRoute states_, gradients_;
};

}  // namespace natrix
