#include "distributed/communicator.h"

#include <gtest/gtest.h>

#include "tests/kernels/cases.h"

namespace natrix {
namespace {

TEST(LocalCommunicator, EveryCollectiveIsTheIdentity) {
  test::Random random;
  Context ctx(Backend::kCpu, 1);
  LocalCommunicator world;
  const Buffer x = random.normal(Dtype::kF32, {5, 3});
  const std::vector<int64_t> rows{5};
  EXPECT_EQ(world.rank(), 0);
  EXPECT_EQ(world.size(), 1);
  for (int op = 0; op < 4; ++op) {
    Buffer y = test::poisoned(Dtype::kF32, {5, 3});
    if (op == 0) {
      copy(x.view(), y.view());
      world.all_reduce(ctx, y.view(), Reduce::kSum);
    }
    if (op == 1) world.reduce_scatter(ctx, x.view(), y.view(), Reduce::kSum);
    if (op == 2) world.all_gather(ctx, x.view(), y.view());
    if (op == 3) world.all_to_all(ctx, x.view(), y.view(), {rows, rows});
    EXPECT_EQ(test::relative_difference(y.view(), x.view()), 0) << op;
  }
}

TEST(LocalCommunicator, HasNoPeer) {
  Context ctx(Backend::kCpu, 1);
  LocalCommunicator world;
  Buffer x(Dtype::kF32, {1});
  EXPECT_THROW(world.send(ctx, x.view(), 0), ContractError);
  EXPECT_THROW(world.receive(ctx, x.view(), 0), ContractError);
}

}  // namespace
}  // namespace natrix
