// .ci/check_layers: this repository follows the include rules, and the check finds violations.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace {

namespace fs = std::filesystem;

struct Outcome {
  int status = -1;
  std::string output;
};

Outcome check_layers(const fs::path& root) {
  const std::string command =
      std::string(NATRIX_SOURCE_DIR) + "/.ci/check_layers '" + root.string() + "' 2>&1";
  Outcome outcome;
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return outcome;
  char buffer[512];
  while (std::fgets(buffer, sizeof buffer, pipe) != nullptr) outcome.output += buffer;
  outcome.status = WEXITSTATUS(pclose(pipe));
  return outcome;
}

/// A tree of empty folders, gone when the test ends.
class Layers : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::path(::testing::TempDir()) / ("layers-" + std::to_string(getpid()));
    for (const char* folder : {"kernels", "configs", "core", "moe", "distributed", "launch"}) {
      fs::create_directories(root_ / folder);
    }
  }
  void TearDown() override { fs::remove_all(root_); }
  void write(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  fs::path root_;
};

TEST(LayersOfThisRepository, AreKept) {
  const Outcome outcome = check_layers(NATRIX_SOURCE_DIR);
  EXPECT_EQ(outcome.status, 0) << outcome.output;
}

TEST_F(Layers, WithTheArrowsPass) {
  write(
      "core/layers/model.cpp",
      "#include \"core/layers/model.h\"\n#include \"kernels/scan.h\"\n#include \"configs/schema/model.h\"\n");
  write("moe/router.h", "#include <vector>\n#include \"core/layers/model.h\"\n");
  write("launch/assemble.cpp",
        "#include <fmt/format.h>\n#include \"moe/router.h\"\n#include \"distributed/mesh.h\"\n");
  const Outcome outcome = check_layers(root_);
  EXPECT_EQ(outcome.status, 0) << outcome.output;
}

TEST_F(Layers, AgainstTheArrowsFail) {
  const struct {
    const char *file, *include;
  } cases[] = {
      {"kernels/scan.cpp", "core/layers/model.h"},
      {"kernels/cpu/scan.h", "configs/schema/model.h"},
      {"configs/schema/load.cpp", "kernels/scan.h"},
      {"core/layers/model.h", "moe/router.h"},
      {"core/io/file.cpp", "distributed/mesh.h"},
      {"core/io/file.cpp", "launch/assemble.h"},
      {"core/files/json.cpp", "core/carry/carry_states.h"},
      {"core/layers/model.cpp", "core/sequence/segment_schedule.h"},
      {"core/train/trainer.cpp", "core/generate/session.h"},
      {"moe/router.cpp", "distributed/mesh.h"},
      {"distributed/mesh.cpp", "moe/router.h"},
      {"launch/assemble.cpp", "tests/cases.h"},
      {"moe/router.cpp", "../core/layers/model.h"},
      {"kernels/cuda/scan.cu", "core/layers/model.h"},
  };
  for (const auto& c : cases) {
    write(c.file, "\n  #  include \"" + std::string(c.include) + "\"  // why\n");
    const Outcome outcome = check_layers(root_);
    EXPECT_EQ(outcome.status, 1) << c.file << " includes " << c.include;
    EXPECT_NE(outcome.output.find(std::string(c.file) + ":2: includes \"" + c.include), std::string::npos)
        << outcome.output;
    fs::remove(root_ / c.file);
  }
}

TEST_F(Layers, KeepHeavyHeadersOutOfOurs) {
  write("core/files/file.h", "#include <nlohmann/json_fwd.hpp>\n");
  write("core/files/file.cpp", "#include <nlohmann/json.hpp>\n");
  write("kernels/cpu/math-inl.h", "#include <hwy/highway.h>\n");
  EXPECT_EQ(check_layers(root_).status, 0);
  write("core/files/file.h", "#include <nlohmann/json.hpp>\n");
  EXPECT_EQ(check_layers(root_).status, 1);
}

TEST_F(Layers, OfCoreNeedARow) {
  write("core/novel/file.cpp", "#include \"core/files/json.h\"\n");
  const Outcome outcome = check_layers(root_);
  EXPECT_EQ(outcome.status, 1);
  EXPECT_NE(outcome.output.find("core/novel has no row"), std::string::npos) << outcome.output;
}

TEST_F(Layers, NeedTheirFolders) {
  fs::remove_all(root_ / "moe");  // a folder renamed, but not in the script, would go unchecked
  EXPECT_EQ(check_layers(root_).status, 1);
}

}  // namespace
