// The communicator over NCCL: its collectives on a device, what stays with the host, and a rank that does not
// come. And whole steps, against one process. Part of test_launch where CUDA is emulated: GPUs would have to
// be as many as ranks.
#include "nccl.h"

#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "distributed/nccl_communicator.h"
#include "distributed/thread_communicator.h"
#include "kernels/base/transfer.h"
#include "tests/launch/ranks.h"

namespace natrix::test {
namespace {

using ::testing::HasSubstr;

/// On the device, elements first, first + 1, ….
template <class T>
Buffer counting(const Shape& shape, double first) {
  Buffer host(DtypeOf<T>::value, shape), there(DtypeOf<T>::value, shape, Memory::kDevice);
  for (int64_t i = 0; i < shape.count(); ++i)
    host.view().as<T>()[i] = static_cast<T>(first + static_cast<double>(i));
  copy(host.view(), there.view());
  return there;
}

template <class T>
T at(View v, int64_t i) {
  return OnHost(v).view().as<T>()[i];
}

struct NcclRank {
  explicit NcclRank(Transport& world) : all(make_nccl_communicator(world.split(0, "all"), "all")) {}
  Context ctx{Backend::kCuda};
  std::unique_ptr<Communicator> all;
};

TEST(CudaNccl, CollectivesOnTheDevice) {
  for (const int ranks : {2, 3, 4}) {
    run_ranks(ranks, 30, [&](Transport& world) {
      NcclRank r(world);
      const int me = world.rank();
      const double sum_of_ranks = ranks * (ranks - 1) / 2.0;

      const Buffer x = counting<float>({5}, 10 * me), n = counting<int64_t>({3}, me);
      r.all->all_reduce(r.ctx, x.view(), Reduce::kSum);
      r.all->all_reduce(r.ctx, n.view(), Reduce::kMax);
      EXPECT_EQ(at<float>(x.view(), 4), 10 * sum_of_ranks + 4 * ranks);
      EXPECT_EQ(at<int64_t>(n.view(), 2), ranks + 1);

      const Buffer parts = counting<double>({2 * ranks}, me);
      Buffer mine(Dtype::kF64, {2}, Memory::kDevice);
      r.all->reduce_scatter(r.ctx, parts.view(), mine.view(), Reduce::kSum);
      EXPECT_EQ(at<double>(mine.view(), 1), sum_of_ranks + ranks * (2 * me + 1));

      Buffer gathered(Dtype::kF32, {ranks, 2}, Memory::kDevice);
      const Buffer two = counting<float>({1, 2}, 100 * me);
      r.all->all_gather(r.ctx, two.view(), gathered.view());
      EXPECT_EQ(at<float>(gathered.view(), 2 * (ranks - 1) + 1), 100 * (ranks - 1) + 1);

      std::vector<int64_t> send,
          receive;  // rank a sends b · (a + 1) rows to rank b, so that rank 0 gets none at all
      int64_t sent = 0, received = 0;
      for (int p = 0; p < ranks; ++p) {
        sent += send.emplace_back(p * (me + 1));
        received += receive.emplace_back(me * (p + 1));
      }
      const Buffer rows = counting<float>({sent, 2}, 1000 * me);
      Buffer arrived(Dtype::kF32, {received, 2}, Memory::kDevice);
      r.all->all_to_all(r.ctx, rows.view(), arrived.view(), {send, receive});
      int64_t row = 0;
      for (int p = 0; p < ranks; ++p) {
        for (int64_t i = 0; i < receive[static_cast<size_t>(p)]; ++i, ++row) {
          const int64_t before = me * (me - 1) / 2 * (p + 1);  // rows of p for ranks below this one
          EXPECT_EQ(at<float>(arrived.view(), 2 * row), 1000 * p + 2 * (before + i)) << p << " to " << me;
        }
      }
      EXPECT_GT(r.all->traffic().bytes, 0);
    });
  }
}

/// As the last bucket of gradients: the last ranks' shares are shorter, or empty; and both halves in place.
TEST(CudaNccl, UnevenSharesInPlace) {
  for (const int ranks : {2, 3, 4}) {
    run_ranks(ranks, 30, [&](Transport& world) {
      NcclRank r(world);
      const Buffer x = counting<float>({5}, 10 * world.rank());
      const View mine = share_of(x.view(), ranks, world.rank());
      r.all->reduce_scatter(r.ctx, x.view(), mine, Reduce::kSum);
      r.all->all_gather(r.ctx, mine, x.view());
      for (int64_t i = 0; i < 5; ++i)
        EXPECT_EQ(at<float>(x.view(), i), 10 * ranks * (ranks - 1) / 2.0 + static_cast<double>(i * ranks));
    });
  }
}

TEST(CudaNccl, WhatLiesWithTheHostAndMessagesGoByTheHost) {
  run_ranks(2, 30, [](Transport& world) {
    NcclRank r(world);
    double figure = 1 + world.rank();
    r.all->all_reduce(r.ctx, View(&figure, Dtype::kF64, {1}), Reduce::kSum);
    EXPECT_EQ(figure, 3);
    const Buffer state = counting<float>({4}, 7 * world.rank());
    Buffer other(Dtype::kF32, {4}, Memory::kDevice);
    r.all->send(r.ctx, state.view(), 1 - world.rank());  // both send before either receives
    r.all->receive(r.ctx, other.view(), 1 - world.rank());
    EXPECT_EQ(at<float>(other.view(), 3), 7 * (1 - world.rank()) + 3);
  });
}

/// Rank 1 starts only when rank 0 has gone on from its own start.
TEST(CudaNccl, AStartWaitsForNobodyAndAResultForItsWait) {
  run_ranks(2, 30, [](Transport& world) {
    NcclRank r(world);
    world.watch().timeout = 5;
    const Buffer x = counting<float>({5}, world.rank()), beside = counting<float>({4}, 3);
    Buffer token(Dtype::kF32, {4}, Memory::kDevice);
    if (world.rank() == 1) r.all->receive(r.ctx, token.view(), 0);
    Pending sum = r.all->start_all_reduce(r.ctx, x.view(), Reduce::kSum);
    if (world.rank() == 0) {
      EXPECT_FALSE(sum.poll());
      r.all->send(r.ctx, beside.view(), 1);
    }
    EXPECT_TRUE(std::isnan(at<float>(x.view(), 4)));  // where a wait is missing, this is what it reads
    sum.wait();
    EXPECT_EQ(at<float>(x.view(), 4), 9);
    EXPECT_GT(r.all->traffic().under_way, 0);
  });
}

/// A rank alone, for errors of the emulation are those of all its threads.
TEST(CudaNccl, MemoryOfACollectiveUnderWayIsLeftAlone) {
  for (const bool input : {false, true}) {
    run_ranks(1, 30, [&](Transport& world) {
      NcclRank r(world);
      const Buffer in = counting<float>({4}, 1), out = counting<float>({4}, 1),
                   other = counting<float>({4}, 9);
      Pending gather = r.all->start_all_gather(r.ctx, in.view(), out.view());
      copy(other.view(), input ? in.view() : out.view());
      try {
        gather.wait();
        FAIL() << "nobody saw that memory was used again before its wait";
      } catch (const RunError& e) {
        EXPECT_THAT(e.what(), HasSubstr(input ? "under way reads" : "under way writes"));
      }
    });
  }
}

TEST(CudaNccl, ARankThatDoesNotComeEndsTheRun) {
  cuda_emulation::set_nccl_patience(0.05);
  run_ranks(2, 30, [](Transport& world) {
    NcclRank r(world);
    world.watch().timeout = 0.2;
    world.watch().step = 41;
    if (world.rank() == 1) return;
    const Buffer x = counting<float>({5}, 0);
    try {
      r.all->all_reduce(r.ctx, x.view(), Reduce::kSum);
      FAIL() << "waited for a lost rank, and it came";
    } catch (const RunError& e) {
      EXPECT_THAT(e.what(),
                  HasSubstr("rank 0 of 2, step 41: all_reduce of 20 bytes (all, NCCL): waited 0.2 s"));
    }
  });
  cuda_emulation::set_nccl_patience(60);
}

struct NcclLayout {
  int dp, cp, ep;
  CarryLinkKind link;
  int64_t chunk;
};

/// The parity table of layouts_test.cpp, where what lies on the device goes over NCCL.
TEST(CudaNccl, EveryLayoutEqualsOneProcess) {
  constexpr int64_t kRows = 4, kLength = 32;
  const SmallBatch rows = small_batch(kRows, kLength, 17);
  ExperimentConfig config;
  config.model = small_config();
  config.model.moe.shared_experts = 1;
  config.sequence.length = config.sequence.chunk = kLength;
  config.train.batch_size = config.train.micro_batch_size.emplace(kRows);
  AssembledModel whole = small_model(config.model, Dtype::kF32);
  const WholeStep want = step_alone(config, *whole, rows, Backend::kCuda);
  constexpr CarryLinkKind kRelay = CarryLinkKind::kRelay, kScan = CarryLinkKind::kScan;
  for (const NcclLayout& l : {NcclLayout{2, 1, 1, kRelay, 32},
                              {1, 2, 1, kRelay, 8},
                              {1, 2, 2, kScan, 16},
                              {4, 1, 4, kRelay, 32},
                              {2, 2, 2, kRelay, 8},
                              {2, 2, 4, kScan, 8},
                              {1, 4, 4, kRelay, 8}}) {
    config.parallel.dp = l.dp;
    config.parallel.cp = l.cp;
    config.parallel.ep = l.ep;
    config.parallel.cp_link = l.link;
    config.sequence.chunk = l.chunk;
    config.train.micro_batch_size = kRows / l.dp;
    const WholeStep got = step_on_ranks(config, l.dp * l.cp, *whole, rows, Backend::kCuda, DeviceLink::kNccl);
    const std::string name =
        "dp " + std::to_string(l.dp) + " cp " + std::to_string(l.cp) + " ep " + std::to_string(l.ep);
    EXPECT_NEAR(got.figures.loss, want.figures.loss, 1e-6 * want.figures.loss) << name;
    EXPECT_LT(difference(got, want), 1e-5) << name;
    EXPECT_NEAR(got.norm, want.norm, 1e-5 * want.norm) << name;
    EXPECT_EQ(got.figures.expert_load, want.figures.expert_load) << name;
    EXPECT_GT(got.bytes_sent, 0) << name;
  }
}

}  // namespace
}  // namespace natrix::test
