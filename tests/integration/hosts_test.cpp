// natrix train on two hosts: network namespaces of this machine, each with a name of its own, joined by a
// pair of virtual network cards. A cable can be pulled.
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "distributed/mpi_communicator.h"
#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

namespace fs = std::filesystem;

bool shell(const std::string& command) {
  return std::system((command + " >/dev/null 2>&1").c_str()) == 0;
}

/// Hosts 10.77.0.1 and 10.77.0.2.
class TwoHosts {
 public:
  TwoHosts() : name_(fmt::format("natrix{}-", ::getpid())) {
    // mpirun reaches a host through an "agent", ssh elsewhere: agent HOST COMMAND…
    write_file(agent(), fmt::format("#!/bin/bash\nhost=$1; shift\nexec ip netns exec {}${{host##*.}} unshare "
                                    "--uts bash -c \"hostname host${{host##*.}}; $*\"\n",
                                    name_));
    write_file(scratch_ / "hosts", "10.77.0.1 slots=1\n10.77.0.2 slots=1\n");
    fs::permissions(agent(), fs::perms::owner_all);
    there_ =
        shell(fmt::format("ip netns add {0}1 && ip netns add {0}2 && ip link add eth77 netns {0}1 type veth "
                          "peer name eth77 netns {0}2",
                          name_));
    for (const int host : {1, 2}) {
      there_ = there_ &&
               shell(fmt::format("ip -n {0}{1} addr add 10.77.0.{1}/24 dev eth77 && ip -n {0}{1} link set "
                                 "lo up && ip -n {0}{1} link set eth77 up",
                                 name_, host));
    }
  }
  ~TwoHosts() {
    for (const int host : {1, 2}) {
      shell(fmt::format("ip netns pids {0}{1} | xargs -r kill -9", name_, host));
      shell(fmt::format("ip netns del {}{}", name_, host));
    }
  }
  TwoHosts(const TwoHosts&) = delete;
  TwoHosts& operator=(const TwoHosts&) = delete;

  /// False where this user may not make them.
  bool there() const { return there_; }
  void set_cable(bool plugged_in) const {
    shell(fmt::format("ip -n {}1 link set eth77 {}", name_, plugged_in ? "up" : "down"));
    // What each remembers of the other while it was away.
    if (plugged_in)
      shell(fmt::format("ip -n {0}1 neigh flush all; ip -n {0}2 neigh flush all; sleep 1", name_));
  }
  /// Whether natrix still runs on either.
  bool has_ranks() const {
    return shell(fmt::format(
        "cat $( (ip netns pids {0}1; ip netns pids {0}2) | sed 's|.*|/proc/&/comm|') | grep -q '^natrix$'",
        name_));
  }
  /// launch/mpirun.sh with a rank on each, typed on host 1.
  std::vector<std::string> mpirun() const {
    return {"ip",
            "netns",
            "exec",
            name_ + "1",
            "unshare",
            "--uts",
            "env",
            "NATRIX=" NATRIX_PROGRAM,
            "OMPI_MCA_plm_rsh_agent=" + agent(),
            "OMPI_MCA_btl=tcp,self",
            "OMPI_MCA_btl_tcp_if_include=eth77",
            "OMPI_MCA_oob_tcp_if_include=eth77",
            "bash",
            "-c",
            "hostname host1; exec \"$@\"",
            "bash",
            NATRIX_SOURCE_DIR "/launch/mpirun.sh",
            "-n",
            "2",
            "--hostfile",
            scratch_ / "hosts"};
  }

 private:
  std::string agent() const { return scratch_ / "agent"; }

  ScratchDir scratch_;
  std::string name_;
  bool there_ = false;
};

class SlowHosts : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!built_with_mpi()) GTEST_SKIP() << "this build has no MPI";
    if (!hosts_.there()) GTEST_SKIP() << "network namespaces need iproute2, and root";
  }

  std::vector<std::string> command(const std::string& run, const std::vector<std::string>& overrides) const {
    std::vector<std::string> words = {"train",
                                      tiny_.config(),
                                      "run.dir=" + (tiny_ / run),
                                      "device.threads=1",
                                      "train.batch_size=4",
                                      "train.steps=600",
                                      "checkpoint.every=40",
                                      "parallel.timeout=30s"};
    words.insert(words.end(), overrides.begin(), overrides.end());
    return words;
  }
  Outcome train(const std::string& run, const std::vector<std::string>& overrides,
                const ProgramOptions& options = {}) const {
    std::vector<std::string> words = hosts_.mpirun();
    for (const std::string& word : command(run, overrides)) words.push_back(word);
    return any_program(words, options);
  }

  TwoHosts hosts_;
  TinyRun tiny_;
};

/// And its curve is that of a run of the same ranks that was never broken.
TEST_F(SlowHosts, APulledCableEndsTheJobAndTheRunGoesOnAfterIt) {
  using clock = std::chrono::steady_clock;
  clock::time_point pulled{};
  ProgramOptions options;
  options.signal_when = [&] {
    if (pulled == clock::time_point{} && last_step_logged(tiny_ / "broken") >= 50) {
      hosts_.set_cable(false);
      pulled = clock::now();
    }
    return 0;
  };
  const Outcome broken = train("broken", {"parallel.cp=2"}, options);
  ASSERT_NE(pulled, clock::time_point{}) << broken.err;
  EXPECT_LT(clock::now() - pulled, std::chrono::seconds(25)) << "mpirun misses a host after ten seconds";
  EXPECT_NE(broken.status, 0);
  EXPECT_NE(broken.status, 137) << "it had to be killed";
  EXPECT_NE(broken.err.find("10.77.0.2"), std::string::npos)
      << "which host is lost is not said: " << broken.err;
  EXPECT_FALSE(hosts_.has_ranks()) << "a rank outlived its job";
  RecordProperty("message", broken.err);

  hosts_.set_cable(true);
  const Outcome mended = train("broken", {"parallel.cp=2"});
  ASSERT_EQ(mended.status, 0) << mended.err;
  EXPECT_NE(mended.err.find("going on after step "), std::string::npos) << mended.err;
  ASSERT_EQ(train("whole", {"parallel.cp=2"}).status, 0);
  EXPECT_EQ(curve(tiny_ / "broken"), curve(tiny_ / "whole"));
}

}  // namespace
}  // namespace natrix::test
