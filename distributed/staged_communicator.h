// StagedCommunicator: a Communicator for tensors that lie on a device, over one that knows memory of the
// host.
//
// What is sent comes down through pinned memory, what is received goes up; what already lies with the host
// passes as it is. It needs nothing of MPI or of the devices: ranks may even share one.
#pragma once

#include <memory>

#include "distributed/communicator.h"

namespace natrix {

class StagedCommunicator final : public Communicator {
 public:
  explicit StagedCommunicator(std::unique_ptr<Communicator> between_hosts);

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  void all_reduce(Context& ctx, View inout, Reduce op) override;
  void reduce_scatter(Context& ctx, View in, View out, Reduce op) override;
  void all_gather(Context& ctx, View in, View out) override;
  void all_to_all(Context& ctx, View in, View out, const RowPlan& plan) override;
  void send(Context& ctx, View v, int peer) override;
  void receive(Context& ctx, View v, int peer) override;
  Traffic traffic() const override { return inner_->traffic(); }

 private:
  std::unique_ptr<Communicator> inner_;
  Context host_{Backend::kCpu, 1};  // scratch of the inner one's sums
};

}  // namespace natrix
