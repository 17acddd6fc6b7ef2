// MeshGroup: answers a training run's questions to the other ranks over the axes of a process mesh.
#pragma once

#include <memory>

#include "configs/experiment.h"
#include "core/train/rank_group.h"
#include "distributed/process_mesh.h"

namespace natrix {

class MeshGroup final : public RankGroup {
 public:
  /// `mesh` and `ctx` are borrowed. dtype: of the model, and so of the carried states.
  MeshGroup(ProcessMesh& mesh, Context& ctx, Dtype dtype, CarryLinkKind link);
  ~MeshGroup() override;

  int rank() const override { return mesh_.rank(); }
  int size() const override { return mesh_.shape().ranks(); }
  RankShare share() const override;
  CarryRoute& states() override { return *states_; }
  CarryRoute& gradients() override { return *gradients_; }
  void begin_step(int64_t step) override { mesh_.set_step(step); }
  void sum(Context& ctx, std::span<double> figures) override;
  double sum_over_owners(Context& ctx, double x) override;
  int64_t largest(Context& ctx, int64_t x) override;
  CarryStates to_first(Context& ctx, const CarryStates& end) override;
  CarryStates gather_rows(Context& ctx, const CarryStates& mine) override;
  void sum_gradients(Context& ctx, const std::vector<Param*>& params) override;
  Buffer whole(Context& ctx, const Param& param, View mine) override;
  std::string from_first(Context& ctx, const std::string& text) override;
  double seconds_waited() const override { return mesh_.traffic().waiting; }

 private:
  ProcessMesh& mesh_;
  CarryLinkKind link_;
  std::unique_ptr<CarryRoute> states_, gradients_;
};

}  // namespace natrix
