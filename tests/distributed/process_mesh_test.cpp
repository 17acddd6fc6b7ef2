#include "distributed/process_mesh.h"

#include <gtest/gtest.h>

#include "distributed/thread_communicator.h"
#include "tests/distributed/rank_cases.h"

namespace natrix::test {
namespace {

ParallelConfig asked(std::optional<int64_t> dp, int64_t cp, int64_t ep) {
  ParallelConfig c;
  c.dp = dp;
  c.cp = cp;
  c.ep = ep;
  return c;
}

TEST(SettleMesh, AutoTakesWhatContextParallelismLeaves) {
  const MeshShape m = settle_mesh(asked({}, 2, 4), 8);
  EXPECT_EQ(m.dp, 4);
  EXPECT_EQ(m.cp, 2);
  EXPECT_EQ(m.ep, 4);
  EXPECT_EQ(settle_mesh(asked({}, 1, 1), 1).dp, 1);
}

void expect_refused(const ParallelConfig& c, int ranks, const std::vector<std::string>& parts) {
  try {
    settle_mesh(c, ranks);
    ADD_FAILURE() << "took dp " << c.dp.value_or(0) << " cp " << c.cp << " ep " << c.ep << " on " << ranks;
  } catch (const InputError& e) {
    for (const std::string& part : parts) {
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << part << " is not in: " << e.what();
    }
  }
}

TEST(SettleMesh, ErrorsSayWhatWouldDo) {
  expect_refused(asked({}, 3, 1), 4, {"parallel.cp: 3", "can be 1, 2, 4", "mpirun -n 6"});
  expect_refused(asked(3, 2, 1), 4, {"dp 3 x cp 2 is 6 ranks", "4 were started", "mpirun -n 6", "dp to 2"});
  expect_refused(asked(2, 1, 1), 1, {"dp 2 x cp 1 is 2 ranks", "1 was started"});
  expect_refused(asked({}, 2, 3), 4, {"parallel.ep: 3", "can be 1, 2, 4"});
}

TEST(ProcessMesh, AxesHoldTheRanksTheyShould) {
  run_ranks(8, 30, [](Transport& world) {
    ProcessMesh mesh({.dp = 4, .cp = 2, .ep = 4}, world);
    Context ctx(Backend::kCpu, 1);
    const auto members = [&](Communicator& axis) {
      Buffer mine(Dtype::kI64, {1}), all(Dtype::kI64, {axis.size()});
      mine.view().as<int64_t>()[0] = world.rank();
      axis.all_gather(ctx, mine.view(), all.view());
      const int64_t* a = all.view().as<int64_t>();
      return std::vector<int64_t>(a, a + axis.size());
    };
    const int r = world.rank();
    expect(members(mesh.cp()) == std::vector<int64_t>{r / 2 * 2, r / 2 * 2 + 1}, world, "cp");
    expect(members(mesh.ep()) == std::vector<int64_t>{r / 4 * 4, r / 4 * 4 + 1, r / 4 * 4 + 2, r / 4 * 4 + 3},
           world, "ep");
    expect(members(mesh.expert_data()) == std::vector<int64_t>{r % 4, r % 4 + 4}, world, "expert_data");
    expect(mesh.world().size() == 8 && mesh.dp_rank() == r / 2 && mesh.cp_rank() == r % 2 &&
               mesh.ep_rank() == r % 4,
           world, "coordinates");
  });
}

}  // namespace
}  // namespace natrix::test
