#include "distributed/mesh_group.h"

#include <cstring>

#include "core/sequence/state_rows.h"
#include "distributed/carry_relay.h"
#include "distributed/carry_scan.h"
#include "distributed/send_states.h"

namespace natrix {
namespace {

std::unique_ptr<CarryRoute> make_route(Communicator& cp, Context& ctx, Dtype dtype, CarryLinkKind link,
                                       Direction direction) {
  if (cp.size() == 1) return std::make_unique<LocalRoute>();
  if (link == CarryLinkKind::kScan) return std::make_unique<CarryScan>(cp, ctx, dtype, direction);
  return std::make_unique<CarryRelay>(cp, ctx, dtype, direction);
}

}  // namespace

MeshGroup::MeshGroup(ProcessMesh& mesh, Context& ctx, Dtype dtype, const ParallelConfig& parallel)
    : mesh_(mesh),
      link_(parallel.cp_link),
      states_(make_route(mesh.cp(), ctx, dtype, link_, Direction::kForward)),
      gradients_(make_route(mesh.cp_backward(), ctx, dtype, link_, Direction::kBackward)),
      sync_(mesh.gradients(), mesh.expert_data(), parallel.bucket,
            parallel.zero > 0 && mesh.shape().ranks() > 1),
      shares_(parallel.zero > 0 && mesh.shape().ranks() > 1) {}

MeshGroup::~MeshGroup() = default;

RankShare MeshGroup::share() const {
  return {.dp_rank = mesh_.dp_rank(),
          .dp = mesh_.shape().dp,
          .cp_rank = mesh_.cp_rank(),
          .cp = mesh_.shape().cp,
          .link = link_};
}

void MeshGroup::sum(Context& ctx, std::span<double> figures) {
  mesh_.world().all_reduce(ctx, View(figures.data(), Dtype::kF64, {static_cast<int64_t>(figures.size())}),
                           Reduce::kSum);
}

double MeshGroup::sum_over_owners(Context& ctx, double everywhere, double spread) {
  double x = shares_ ? everywhere + spread : spread;
  (shares_ ? mesh_.world() : mesh_.ep()).all_reduce(ctx, View(&x, Dtype::kF64, {1}), Reduce::kSum);
  return shares_ ? x : everywhere + x;
}

int64_t MeshGroup::largest(Context& ctx, int64_t x) {
  mesh_.world().all_reduce(ctx, View(&x, Dtype::kI64, {1}), Reduce::kMax);
  return x;
}

void MeshGroup::gradients_done(Context& ctx, const std::vector<Param*>& params, size_t first) {
  sync_.done(ctx, params, first);
}

CarryStates MeshGroup::to_first(Context& ctx, const CarryStates& end) {
  Communicator& cp = mesh_.cp();
  const int last = cp.size() - 1;
  if (last == 0 || link_ == CarryLinkKind::kScan) return copy_of(end);  // the first rank has them already
  if (cp.rank() == last) send_states(cp, ctx, end, 0);
  return cp.rank() == 0 ? receive_states(cp, ctx, last) : CarryStates();
}

CarryStates MeshGroup::gather_rows(Context& ctx, const CarryStates& mine) {
  if (mesh_.cp_rank() != 0) return {};
  if (mesh_.rank() != 0) {
    send_states(mesh_.world(), ctx, mine, 0);
    return {};
  }
  std::vector<CarryStates> parts;
  parts.push_back(copy_of(mine));
  for (int d = 1; d < mesh_.shape().dp; ++d) {
    parts.push_back(receive_states(mesh_.world(), ctx, d * mesh_.shape().cp));
  }
  return join_rows(parts);
}

void MeshGroup::sum_gradients(Context& ctx, const std::vector<Param*>& params) {
  sync_.finish(ctx, params);
}

std::vector<View> MeshGroup::owned_gradients(const std::vector<Param*>& params) {
  return shares_ ? sync_.shares(params) : gradients_of_each(params);
}

void MeshGroup::share_values(Context& ctx, const std::vector<Param*>& params) {
  if (shares_) sync_.gather_values(ctx, params);
}

RankGroup::Place MeshGroup::place(const Param& param) const {
  Communicator& axis = param.spread_of > 0 ? mesh_.expert_data() : mesh_.gradients();
  return {.index = axis.rank(), .count = axis.size()};
}

Buffer MeshGroup::whole(Context& ctx, const Param& param, View mine) {
  if (mesh_.rank() >= mesh_.shape().ep) return {};  // another group of owners holds the same experts
  Communicator& ep = mesh_.ep();
  const int64_t cols = mine.count() / param.shape[0];
  Buffer all;
  RowPlan plan;
  for (int p = 0; p < ep.size(); ++p) {
    plan.send.push_back(p == 0 ? param.shape[0] : 0);
    int64_t rows = 0;
    if (ep.rank() == 0) rows = param.spread_of * (p + 1) / ep.size() - param.spread_of * p / ep.size();
    plan.receive.push_back(rows);
  }
  if (ep.rank() == 0) all = Buffer(mine.dtype, whole_shape(param));
  const View out =
      ep.rank() == 0 ? all.view().reshaped({param.spread_of, cols}) : View(nullptr, mine.dtype, {0, cols});
  ep.all_to_all(ctx, mine.reshaped({param.shape[0], cols}), out, plan);
  return all;
}

std::string MeshGroup::from(Context& ctx, int64_t rank, const std::string& text) {
  const bool speaks = mesh_.rank() == rank;
  auto size = static_cast<int64_t>(speaks ? text.size() : 0);
  mesh_.world().all_reduce(ctx, View(&size, Dtype::kI64, {1}), Reduce::kMax);
  RowPlan plan;
  std::string copies, result(static_cast<size_t>(size), '\0');
  for (int p = 0; p < mesh_.world().size(); ++p) {
    plan.send.push_back(speaks ? size : 0);
    plan.receive.push_back(p == rank ? size : 0);
    if (speaks) copies += text;
  }
  const View in(copies.data(), Dtype::kU8, {static_cast<int64_t>(copies.size()), 1});
  mesh_.world().all_to_all(ctx, in, View(result.data(), Dtype::kU8, {size, 1}), plan);
  return result;
}

}  // namespace natrix
