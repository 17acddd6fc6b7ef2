#include <gtest/gtest.h>

#include "tests/configs/schema/minimal.h"

namespace natrix {
namespace {

DataEntry entry(const std::string& path, std::optional<double> weight, const std::string& key = "") {
  DataEntry made(path);
  made.weight = weight;
  made.key = key;
  return made;
}

TEST(DataField, ReadsPathsAndItemsInEitherStyle) {
  const std::string model = "model: {pattern: M, d_model: 4}\n";
  const std::vector<DataEntry> mixture = {entry("d/a.txt", 0.7), entry("/b.jsonl.zst", 0.3, "content")};
  for (const std::string data :
       {"data: {train: [{path: a.txt, weight: 0.7}, {weight: 0.3, key: content, path: /b.jsonl.zst}]}\n",
        "data:\n  train:\n    - path: a.txt\n      weight: 0.7\n    - path: \"/b.jsonl.zst\"\n      key: "
        "content\n"
        "      weight: 0.3\n"}) {
    EXPECT_EQ(parse_experiment(model + data, "d/x.yaml").config.data.train, mixture) << data;
  }
  EXPECT_EQ(parse(kMinimal, {"data.train=[a, {path: b, key: c}, {path: d}]"}).config.data.train,
            (std::vector<DataEntry>{entry("a", {}), entry("b", {}, "c"), entry("d", {})}));
}

TEST(DataField, PrintsWhatItReads) {
  const LoadedConfig l =
      parse(kMinimal, {"data.train=[{path: /a b, weight: 1e-3}, {path: /c, weight: 3, key: \"x: y\"}]"});
  const std::string yaml = to_yaml(l, false);
  EXPECT_NE(yaml.find("train: [{path: \"/a b\", weight: 0.001}, {path: /c, weight: 3, key: \"x: y\"}]\n"),
            std::string::npos)
      << yaml;
  EXPECT_EQ(parse_experiment(yaml, "x.yaml").config.data.train, l.config.data.train);
  EXPECT_NE(to_yaml(parse(kMinimal, {"data.train=[/a, {path: /b}]"}), false).find("train: [/a, /b]\n"),
            std::string::npos);
}

TEST(DataField, WeightsMustFitTogether) {
  EXPECT_TRUE(contains(complaint(kMinimal, {"data.train=[a, {path: b, weight: 1}]"}),
                       "data.train: 1 of its 2 items have a weight"));
  EXPECT_TRUE(contains(complaint(kMinimal, {"data.train=[{path: b, weight: 1}]", "data.order=sequential"}),
                       "data.order: sequential"));
  EXPECT_TRUE(contains(complaint(kMinimal, {"data.eval=[{path: b, weight: 1}]"}), "data.eval: its items"));
}

}  // namespace
}  // namespace natrix
