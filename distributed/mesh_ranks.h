// MeshRanks: the interfaces of core/ranks over the axes of a process mesh.
#pragma once

#include <memory>

#include "configs/schema/experiment.h"
#include "core/ranks/ranks.h"
#include "distributed/grad_sync.h"
#include "distributed/process_mesh.h"

namespace natrix {

class MeshCollectives final : public Collectives {
 public:
  explicit MeshCollectives(ProcessMesh& mesh) : mesh_(mesh) {}

  int rank() const override { return mesh_.rank(); }
  int size() const override { return mesh_.shape().ranks(); }
  void sum(Context& ctx, std::span<double> figures) override;
  int64_t max(Context& ctx, int64_t x) override;
  std::string broadcast(Context& ctx, int64_t root, const std::string& text) override;
  void begin_step(int64_t step) override { mesh_.set_step(step); }
  double seconds_waited() const override { return mesh_.traffic().waiting; }

 private:
  ProcessMesh& mesh_;
};

class MeshCarry final : public CarryAxis {
 public:
  MeshCarry(ProcessMesh& mesh, Context& ctx, CarryLinkKind link);

  CarryRoute& states() override { return *states_; }
  CarryRoute& gradients() override { return *gradients_; }
  CarryStates to_first(Context& ctx, const CarryStates& end) override;
  CarryStates gather_rows(Context& ctx, const CarryStates& mine) override;

 private:
  ProcessMesh& mesh_;
  CarryLinkKind link_;
  std::unique_ptr<CarryRoute> states_, gradients_;
};

class MeshGradients final : public GradientSync {
 public:
  MeshGradients(ProcessMesh& mesh, int64_t bucket, bool shards);

  void ready(Context& ctx, const std::vector<Param*>& params, size_t first) override;
  void finish(Context& ctx, const std::vector<Param*>& params) override;
  std::vector<View> owned(const std::vector<Param*>& params) override;
  bool shards_updates() const override { return shards_; }
  void share_values(Context& ctx, const std::vector<Param*>& params) override;
  double norm(Context& ctx, double replicated, double spread) override;

 private:
  ProcessMesh& mesh_;
  GradSync sync_;
  bool shards_;  // of the optimizer's state
};

class MeshPlacement final : public Placement {
 public:
  explicit MeshPlacement(ProcessMesh& mesh) : mesh_(mesh) {}

  Place place(const Param& param) const override;
  Buffer whole(Context& ctx, const Param& param, View mine) override;

 private:
  ProcessMesh& mesh_;
};

class MeshRanks {
 public:
  /// `mesh` and `ctx` are borrowed. Link, bucket and zero are those of `parallel`.
  MeshRanks(ProcessMesh& mesh, Context& ctx, const ParallelConfig& parallel);

  Ranks ranks();

 private:
  ProcessMesh& mesh_;
  CarryLinkKind link_;
  MeshCollectives world_;
  MeshCarry carry_;
  MeshGradients gradients_;
  MeshPlacement placement_;
};

}  // namespace natrix
