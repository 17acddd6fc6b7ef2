// RankCommunicator: the Communicator of many ranks, over any Transport.
//
// Reductions are an exchange of pieces followed by a sum in the order of ranks, in double: the same bits on
// every rank and in every run, whatever arrives first. The bytes they move are those of a ring all-reduce, 2
// (P − 1) / P of the buffer.
#pragma once

#include <memory>

#include "distributed/communicator.h"
#include "distributed/transport.h"

namespace natrix {

class RankCommunicator final : public Communicator {
 public:
  /// Up to so many bytes an all-reduce is one exchange of everything instead of two of pieces: latency is all
  /// it costs.
  static constexpr int64_t kSmall = int64_t{16} << 10;

  explicit RankCommunicator(std::unique_ptr<Transport> transport);
  ~RankCommunicator() override;

  int rank() const override { return transport_->rank(); }
  int size() const override { return transport_->size(); }
  void all_reduce(Context& ctx, View inout, Reduce op) override;
  void reduce_scatter(Context& ctx, View in, View out, Reduce op) override;
  void all_gather(Context& ctx, View in, View out) override;
  void all_to_all(Context& ctx, View in, View out, const RowPlan& plan) override;
  void send(Context& ctx, View v, int peer) override;
  void receive(Context& ctx, View v, int peer) override;
  Traffic traffic() const override { return traffic_; }

 private:
  class Parts;  // what goes to, or comes from, each rank
  void exchange(const Parts& send, const Parts& receive, std::string_view what);

  std::unique_ptr<Transport> transport_;
  Traffic traffic_;
};

}  // namespace natrix
