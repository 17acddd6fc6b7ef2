// The shortest valid experiment, and a folder of files that tests write.
#pragma once

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <unistd.h>
#include <vector>

#include "configs/schema/config_error.h"
#include "configs/schema/load.h"

namespace natrix {

inline const std::string kMinimal =
    "model: {pattern: ME, d_model: 64}\n"
    "data: {train: [a.txt]}\n";

inline LoadedConfig parse(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return parse_experiment(text, "x.yaml", overrides);
}

/// What the loader says against a text; empty if it accepts it.
inline std::string complaint(const std::string& text, const std::vector<std::string>& overrides = {}) {
  try {
    parse(text, overrides);
    return "";
  } catch (const ConfigError& e) {
    return e.what();
  }
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class ConfigFiles : public testing::Test {
 protected:
  void SetUp() override {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::temp_directory_path() /
              (std::string("natrix-configs-") + info->name() + "-" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& text) const {
    const std::filesystem::path path = folder_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
    return path.string();
  }
  std::string file_complaint(const std::string& path, const std::vector<std::string>& overrides = {}) const {
    try {
      load_experiment(path, overrides);
      return "";
    } catch (const ConfigError& e) {
      return e.what();
    }
  }

  std::filesystem::path folder_;
};

}  // namespace natrix
