#include "distributed/mesh_ranks.h"

#include <cstring>

#include "core/carry/state_rows.h"
#include "distributed/carry_relay.h"
#include "distributed/carry_scan.h"
#include "distributed/send_states.h"

namespace natrix {
namespace {

std::unique_ptr<CarryRoute> make_route(Communicator& cp, Context& ctx, CarryLinkKind link,
                                       Direction direction) {
  if (cp.size() == 1) return std::make_unique<LocalRoute>();
  if (link == CarryLinkKind::kScan) return std::make_unique<CarryScan>(cp, ctx, direction);
  return std::make_unique<CarryRelay>(cp, ctx, direction);
}

}  // namespace

MeshCarry::MeshCarry(ProcessMesh& mesh, Context& ctx, CarryLinkKind link)
    : mesh_(mesh),
      link_(link),
      states_(make_route(mesh.cp(), ctx, link, Direction::kForward)),
      gradients_(make_route(mesh.cp_backward(), ctx, link, Direction::kBackward)) {}

MeshGradients::MeshGradients(ProcessMesh& mesh, int64_t bucket, bool shards)
    : mesh_(mesh), sync_(mesh.gradients(), mesh.expert_data(), bucket, shards), shards_(shards) {}

MeshRanks::MeshRanks(ProcessMesh& mesh, Context& ctx, const ParallelConfig& parallel)
    : mesh_(mesh),
      link_(parallel.cp_link),
      world_(mesh),
      carry_(mesh, ctx, parallel.cp_link),
      gradients_(mesh, parallel.bucket, parallel.zero > 0 && mesh.shape().ranks() > 1),
      placement_(mesh) {}

Ranks MeshRanks::ranks() {
  return {.share = {.dp_rank = mesh_.dp_rank(),
                    .dp = mesh_.shape().dp,
                    .cp_rank = mesh_.cp_rank(),
                    .cp = mesh_.shape().cp,
                    .link = link_},
          .world = world_,
          .carry = carry_,
          .gradients = gradients_,
          .placement = placement_};
}

void MeshCollectives::sum(Context& ctx, std::span<double> figures) {
  mesh_.world().all_reduce(ctx, View(figures.data(), Dtype::kF64, {static_cast<int64_t>(figures.size())}),
                           Reduce::kSum);
}

double MeshGradients::norm(Context& ctx, double replicated, double spread) {
  double x = shards_ ? replicated + spread : spread;
  (shards_ ? mesh_.world() : mesh_.ep()).all_reduce(ctx, View(&x, Dtype::kF64, {1}), Reduce::kSum);
  return shards_ ? x : replicated + x;
}

int64_t MeshCollectives::max(Context& ctx, int64_t x) {
  mesh_.world().all_reduce(ctx, View(&x, Dtype::kI64, {1}), Reduce::kMax);
  return x;
}

void MeshGradients::ready(Context& ctx, const std::vector<Param*>& params, size_t first) {
  sync_.done(ctx, params, first);
}

CarryStates MeshCarry::to_first(Context& ctx, const CarryStates& end) {
  Communicator& cp = mesh_.cp();
  const int last = cp.size() - 1;
  if (last == 0 || link_ == CarryLinkKind::kScan) return copy_of(end);  // the first rank has them already
  if (cp.rank() == last) send_states(cp, ctx, end, 0);
  return cp.rank() == 0 ? receive_states(cp, ctx, last) : CarryStates();
}

CarryStates MeshCarry::gather_rows(Context& ctx, const CarryStates& mine) {
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

void MeshGradients::finish(Context& ctx, const std::vector<Param*>& params) {
  sync_.finish(ctx, params);
}

std::vector<View> MeshGradients::owned(const std::vector<Param*>& params) {
  return shards_ ? sync_.shares(params) : gradients_of_each(params);
}

void MeshGradients::share_values(Context& ctx, const std::vector<Param*>& params) {
  if (shards_) sync_.gather_values(ctx, params);
}

Placement::Place MeshPlacement::place(const Param& param) const {
  Communicator& axis = param.spread_of > 0 ? mesh_.expert_data() : mesh_.gradients();
  return {.index = axis.rank(), .count = axis.size()};
}

Buffer MeshPlacement::whole(Context& ctx, const Param& param, View mine) {
  if (mesh_.rank() >= mesh_.shape().ep) return {};  // another group of owners holds the same experts
  Communicator& ep = mesh_.ep();
  const int64_t cols = mine.count() / param.shape[0];
  Buffer all;
  std::vector<int64_t> send, receive;  // rows per peer
  for (int p = 0; p < ep.size(); ++p) {
    send.push_back(p == 0 ? param.shape[0] : 0);
    int64_t rows = 0;
    if (ep.rank() == 0) rows = param.spread_of * (p + 1) / ep.size() - param.spread_of * p / ep.size();
    receive.push_back(rows);
  }
  if (ep.rank() == 0) all = Buffer(mine.dtype, whole_shape(param));
  const View out =
      ep.rank() == 0 ? all.view().reshaped({param.spread_of, cols}) : View(nullptr, mine.dtype, {0, cols});
  ep.all_to_all(ctx, mine.reshaped({param.shape[0], cols}), out, {send, receive});
  return all;
}

std::string MeshCollectives::broadcast(Context& ctx, int64_t root, const std::string& text) {
  const bool speaks = mesh_.rank() == root;
  auto size = static_cast<int64_t>(speaks ? text.size() : 0);
  mesh_.world().all_reduce(ctx, View(&size, Dtype::kI64, {1}), Reduce::kMax);
  std::vector<int64_t> send, receive;  // rows per peer
  std::string copies, result(static_cast<size_t>(size), '\0');
  for (int p = 0; p < mesh_.world().size(); ++p) {
    send.push_back(speaks ? size : 0);
    receive.push_back(p == root ? size : 0);
    if (speaks) copies += text;
  }
  const View in(copies.data(), Dtype::kU8, {static_cast<int64_t>(copies.size()), 1});
  mesh_.world().all_to_all(ctx, in, View(result.data(), Dtype::kU8, {size, 1}), {send, receive});
  return result;
}

}  // namespace natrix
