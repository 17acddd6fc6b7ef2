// What a dry axis counts is what the ranks of a real one send.
#include "distributed/counting_communicator.h"

#include <gtest/gtest.h>
#include <mutex>

#include "distributed/rank_communicator.h"
#include "distributed/thread_communicator.h"

namespace natrix::test {
namespace {

using Kind = CountingCommunicator::Kind;

constexpr int kRanks = 3;

/// The same operations on either, of tensors in `memory`.
void talk(Communicator& axis, Context& ctx, Memory memory) {
  for (const int64_t count : {1, 7, 5000, 20001}) {
    const Buffer x(Dtype::kF64, {count}, memory), y(Dtype::kF64, {kRanks * count}, memory);
    axis.all_reduce(ctx, x.view(), Reduce::kSum);
    axis.reduce_scatter(ctx, x.view(), share_of(x.view(), kRanks, axis.rank()), Reduce::kSum);
    axis.all_gather(ctx, x.view(), y.view());
    const std::vector<int64_t> to_each{count, count, count};
    const Buffer rows(Dtype::kF32, {kRanks * count, 2}, memory),
        arrived(Dtype::kF32, {kRanks * count, 2}, memory);
    axis.all_to_all(ctx, rows.view(), arrived.view(), {to_each, to_each});
    axis.send(ctx, x.view(), (axis.rank() + 1) % kRanks);
    axis.receive(ctx, x.view(), (axis.rank() + kRanks - 1) % kRanks);
  }
}

TEST(CountingCommunicator, CountsWhatRanksSend) {
  Traffic sent;
  int64_t scratch = 0;
  std::mutex mutex;
  run_ranks(kRanks, 60, [&](Transport& world) {
    Context ctx(Backend::kReference, 1);
    RankCommunicator axis(world.split(0, "axis"));
    talk(axis, ctx, Memory::kHost);
    const std::lock_guard lock(mutex);
    sent += axis.traffic();
    if (axis.rank() == 0) scratch = axis.scratch_bytes();
  });
  Traffic counted;
  Context ctx(Context::Dry{});
  for (int rank = 0; rank < kRanks; ++rank) {
    CountingCommunicator axis(rank, kRanks);
    talk(axis, ctx, Memory::kDry);
    if (rank == 0) {
      EXPECT_EQ(axis.scratch_bytes(), scratch);
      for (const Kind kind : {Kind::kSum, Kind::kGather}) counted += axis.count(kind).all;
    }
    for (const Kind kind : {Kind::kExchange, Kind::kMessage}) counted += axis.count(kind).mine;
  }
  EXPECT_EQ(counted.bytes, sent.bytes);
  EXPECT_EQ(counted.messages, sent.messages);
}

TEST(CountingCommunicator, TakesAllRanksToHaveTheSameFigures) {
  Context ctx(Context::Dry{});
  CountingCommunicator axis(1, 4);
  const Buffer figures(Dtype::kF64, {2}), all(Dtype::kF64, {8});
  figures.view().as<double>()[0] = 3;
  axis.all_gather(ctx, figures.view(), all.view());
  EXPECT_EQ(all.view().as<double>()[6], 3);
  axis.all_reduce(ctx, figures.view(), Reduce::kMax);
  EXPECT_EQ(figures.view().as<double>()[0], 3);
  axis.all_reduce(ctx, figures.view(), Reduce::kSum);
  EXPECT_EQ(figures.view().as<double>()[0], 12);
}

TEST(CountingCommunicator, IsUnderWayUntilSomebodyWaits) {
  Context ctx(Context::Dry{});
  CountingCommunicator axis(0, 2);
  const Buffer x(Dtype::kF32, {100}, Memory::kDry);
  {
    Pending first = axis.start_all_reduce(ctx, x.view(), Reduce::kSum);
    Pending second = axis.start_all_reduce(ctx, x.view(), Reduce::kSum);
    EXPECT_FALSE(first.poll());
    first.wait();
    EXPECT_TRUE(first.poll());
    second.wait();
  }
  axis.all_reduce(ctx, x.view(), Reduce::kSum);
  EXPECT_EQ(axis.scratch_bytes(), 2 * 2 * 400) << "two at once, and then their room again";
}

}  // namespace
}  // namespace natrix::test
