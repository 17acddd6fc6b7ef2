// StagedCommunicator: a Communicator for device tensors, on top of one for host memory.
//
// Data to send is first copied to the host through pinned memory; received data is copied to the
// device. Tensors in host memory pass unchanged. It needs no support from MPI or the devices: ranks
// may even share one device.
#pragma once

#include <memory>

#include "distributed/communicator.h"

namespace natrix {

class StagedCommunicator final : public Communicator {
 public:
  explicit StagedCommunicator(std::unique_ptr<Communicator> between_hosts);

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  Pending start_all_reduce(Context& ctx, View inout, Reduce op) override;
  Pending start_reduce_scatter(Context& ctx, View in, View out, Reduce op) override;
  Pending start_all_gather(Context& ctx, View in, View out) override;
  Pending start_all_to_all(Context& ctx, View in, View out, const RowCounts& rows) override;
  void send(Context& ctx, View v, int peer) override;
  void receive(Context& ctx, View v, int peer) override;
  Traffic traffic() const override { return inner_->traffic(); }
  int64_t scratch_bytes() const override { return inner_->scratch_bytes(); }

 private:
  std::unique_ptr<Communicator> inner_;
  Context host_{Backend::kCpu, 1};  // scratch for the sums of the inner communicator
};

}  // namespace natrix
