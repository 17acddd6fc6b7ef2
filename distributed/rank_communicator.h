// RankCommunicator: a Communicator for several ranks, over any Transport.
//
// A reduction exchanges pieces and then sums them in the order of ranks, in double. The bits are the same on
// every rank and in every run, whatever arrives first. It moves as many bytes as a ring all-reduce, 2
// (P − 1) / P of the buffer.
#pragma once

#include <memory>
#include <string>

#include "distributed/communicator.h"
#include "distributed/rank_operation.h"
#include "distributed/transport.h"

namespace natrix {

class RankCommunicator final : public Communicator {
 public:
  /// Up to this many bytes, an all-reduce is one exchange of everything instead of two exchanges of pieces,
  /// because its only cost is latency.
  static constexpr int64_t kSmall = int64_t{16} << 10;

  explicit RankCommunicator(std::unique_ptr<Transport> transport);
  ~RankCommunicator() override;

  int rank() const override { return transport_->rank(); }
  int size() const override { return transport_->size(); }
  Pending start_all_reduce(Context& ctx, View inout, Reduce op) override;
  Pending start_reduce_scatter(Context& ctx, View in, View out, Reduce op) override;
  Pending start_all_gather(Context& ctx, View in, View out) override;
  Pending start_all_to_all(Context& ctx, View in, View out, const RowCounts& rows) override;
  void send(Context& ctx, View v, int peer) override;
  void receive(Context& ctx, View v, int peer) override;
  Traffic traffic() const override { return book_.traffic; }
  int64_t scratch_bytes() const override { return book_.scratch.bytes(); }

 private:
  class Parts;  // what goes to, or comes from, each rank
  std::unique_ptr<Exchange> exchange(const Parts& send, const Parts& receive, int64_t operation,
                                     std::string_view what);
  Pending run(std::unique_ptr<Exchange> first, RankOperation::Then then = nullptr, Buffer scratch = {});

  std::unique_ptr<Transport> transport_;
  OperationBook book_;
};

}  // namespace natrix
