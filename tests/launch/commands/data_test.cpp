// natrix data as a user runs it.
#include <filesystem>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

class DataCommand : public testing::Test {
 protected:
  DataCommand() {
    std::filesystem::create_directory(scratch_ / "texts");
    write_file(scratch_ / "texts/a", "In the beginning");
    write_file(scratch_ / "texts/b", "");
  }
  ScratchDir scratch_;
};

TEST_F(DataCommand, MakesShardsAndChecksThem) {
  const auto made = natrix_program({"data", scratch_ / "texts", "--out", scratch_ / "shards", "--json"});
  ASSERT_EQ(made.status, 0) << made.err;
  const auto summary = nlohmann::json::parse(made.out);
  EXPECT_EQ(summary["tokens"], 19);
  EXPECT_EQ(summary["documents"], 2);
  EXPECT_EQ(summary["text_bytes"], 16);
  EXPECT_EQ(std::filesystem::file_size(scratch_ / "shards/shard-00000.bin"), 64u + 2 * 19);
  const auto checked = natrix_program({"data", scratch_ / "shards", "--check"});
  EXPECT_EQ(checked.status, 0) << checked.err;
  EXPECT_NE(checked.out.find("19 tokens of 2 documents in 1 shard, 38 B, undamaged"), std::string::npos)
      << checked.out;

  auto shard = read_file(scratch_ / "shards/shard-00000.bin");
  shard[70] ^= 1;
  write_file(scratch_ / "shards/shard-00000.bin", shard);
  const auto damaged = natrix_program({"data", scratch_ / "shards", "--check"});
  EXPECT_EQ(damaged.status, 2);
  EXPECT_NE(damaged.err.find("shard-00000.bin: its tokens do not have its checksum"), std::string::npos)
      << damaged.err;
}

TEST_F(DataCommand, SummarisesDataOfAnyKind) {
  setenv("NATRIX_CACHE", (scratch_ / "cache").c_str(), 1);
  write_file(scratch_ / "lines.jsonl", "{\"content\": \"the light\"}\n{\"content\": \"was \\u00e9\"}\n");
  const auto json = natrix_json({"data", scratch_ / "lines.jsonl", "--key", "content"});
  EXPECT_EQ(json["documents"], 2);
  EXPECT_EQ(json["tokens"], 18);
  EXPECT_EQ(json["text_bytes"], 15);
  EXPECT_EQ(json["tokens_per_byte"], 1.2);
  EXPECT_EQ(json["sources"][0]["sample"], "was \u00e9");

  write_file(scratch_ / "train.yaml",
             "model: {pattern: M, d_model: 8}\ndata:\n  train:\n    - {path: texts, weight: 3}\n"
             "    - {path: lines.jsonl, weight: 1, key: content}\n");
  const auto table = natrix_program({"data", "--config", scratch_ / "train.yaml"});
  EXPECT_EQ(table.status, 0) << table.err;
  for (const std::string part : {"75 %", "25 %", "lines.jsonl:\n  \"was \u00e9\"", "In the beginning"})
    EXPECT_NE(table.out.find(part), std::string::npos) << part << " not in\n" << table.out;

  const auto made =
      natrix_json({"data", scratch_ / "lines.jsonl", "--key", "content", "--out", scratch_ / "s"});
  EXPECT_EQ(made["documents"], 2);
  EXPECT_EQ(natrix_json({"data", scratch_ / "s"})["sources"][0]["sample"], "was \u00e9");
  unsetenv("NATRIX_CACHE");
}

TEST_F(DataCommand, RefusesWhatItCannotDo) {
  const auto refused = [](std::vector<std::string> args, const std::string& reason) {
    args.insert(args.begin(), "data");
    const auto outcome = natrix_program(args);
    EXPECT_EQ(outcome.status, 2);
    EXPECT_EQ(outcome.out, "");
    EXPECT_NE(outcome.err.find(reason), std::string::npos) << outcome.err;
  };
  refused({scratch_ / "gone", "--out", scratch_ / "out"}, "does not exist");
  refused({}, "PATH is missing");
  refused({scratch_ / "texts", "--config", scratch_ / "x.yaml"}, "keep one of them");
  refused({scratch_ / "texts", "--out", scratch_ / "texts"}, "not an empty directory");
  refused({scratch_ / "texts", "--out", scratch_ / "out", "--tokenizer", "gpt2"}, "supported: bytes");
  refused({scratch_ / "texts", "--check"}, "index.json");
  EXPECT_FALSE(std::filesystem::exists(scratch_ / "out"));
}

}  // namespace
}  // namespace natrix::test
