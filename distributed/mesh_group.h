// MeshGroup: the RankGroup of a training run, implemented with the axes of a process mesh.
#pragma once

#include <memory>

#include "configs/experiment.h"
#include "core/train/rank_group.h"
#include "distributed/grad_sync.h"
#include "distributed/process_mesh.h"

namespace natrix {

class MeshGroup final : public RankGroup {
 public:
  /// `mesh` and `ctx` are borrowed. dtype: dtype of the model and so of the carried states. The carry link,
  /// the bucket size and ZeRO come from `parallel`.
  MeshGroup(ProcessMesh& mesh, Context& ctx, Dtype dtype, const ParallelConfig& parallel);
  ~MeshGroup() override;

  int rank() const override { return mesh_.rank(); }
  int size() const override { return mesh_.shape().ranks(); }
  RankShare share() const override;
  CarryRoute& states() override { return *states_; }
  CarryRoute& gradients() override { return *gradients_; }
  void begin_step(int64_t step) override { mesh_.set_step(step); }
  void sum(Context& ctx, std::span<double> figures) override;
  double sum_over_owners(Context& ctx, double everywhere, double spread) override;
  int64_t largest(Context& ctx, int64_t x) override;
  void gradients_done(Context& ctx, const std::vector<Param*>& params, size_t first) override;
  CarryStates to_first(Context& ctx, const CarryStates& end) override;
  CarryStates gather_rows(Context& ctx, const CarryStates& mine) override;
  void sum_gradients(Context& ctx, const std::vector<Param*>& params) override;
  std::vector<View> owned_gradients(const std::vector<Param*>& params) override;
  bool shares_updates() const override { return shares_; }
  void share_values(Context& ctx, const std::vector<Param*>& params) override;
  Place place(const Param& param) const override;
  Buffer whole(Context& ctx, const Param& param, View mine) override;
  std::string from(Context& ctx, int64_t rank, const std::string& text) override;
  double seconds_waited() const override { return mesh_.traffic().waiting; }

 private:
  ProcessMesh& mesh_;
  CarryLinkKind link_;
  std::unique_ptr<CarryRoute> states_, gradients_;
  GradSync sync_;
  bool shares_;  // ranks share the optimizer's state
};

}  // namespace natrix
