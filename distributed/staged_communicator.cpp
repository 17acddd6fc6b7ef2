#include "distributed/staged_communicator.h"

#include "kernels/base/transfer.h"

namespace natrix {
namespace {

/// f(memory of the host), and what it wrote there goes to `out`.
template <class F>
void into(Context& ctx, View out, F&& f) {
  if (!out || memory_of(out.data) == Memory::kHost) return f(out);
  const Buffer arrived(out.dtype, out.shape);
  f(arrived.view());
  upload(ctx, arrived.view(), out);
}

}  // namespace

StagedCommunicator::StagedCommunicator(std::unique_ptr<Communicator> between_hosts)
    : inner_(std::move(between_hosts)) {}

void StagedCommunicator::all_reduce(Context& ctx, View inout, Reduce op) {
  const OnHost here(ctx, inout);
  inner_->all_reduce(host_, here.view(), op);
  if (here.view().data != inout.data) upload(ctx, here.view(), inout);
}

void StagedCommunicator::reduce_scatter(Context& ctx, View in, View out, Reduce op) {
  const OnHost from(ctx, in);
  into(ctx, out, [&](View to) { inner_->reduce_scatter(host_, from.view(), to, op); });
}

void StagedCommunicator::all_gather(Context& ctx, View in, View out) {
  const OnHost from(ctx, in);
  into(ctx, out, [&](View to) { inner_->all_gather(host_, from.view(), to); });
}

void StagedCommunicator::all_to_all(Context& ctx, View in, View out, const RowPlan& plan) {
  const OnHost from(ctx, in);
  into(ctx, out, [&](View to) { inner_->all_to_all(host_, from.view(), to, plan); });
}

void StagedCommunicator::send(Context& ctx, View v, int peer) {
  const OnHost from(ctx, v);
  inner_->send(host_, from.view(), peer);
}

void StagedCommunicator::receive(Context& ctx, View v, int peer) {
  into(ctx, v, [&](View to) { inner_->receive(host_, to, peer); });
}

}  // namespace natrix
