// Everything that is refused: each message names file, line and key, what was found and what is allowed.
#include <fmt/format.h>

#include "tests/configs/schema/minimal.h"

namespace natrix {
namespace {

struct Malformed {
  const char* name;
  std::string text;
  std::vector<std::string> says;
};

class Refused : public testing::TestWithParam<Malformed> {};

TEST_P(Refused, WithAMessageThatNamesIt) {
  const std::string message = complaint(GetParam().text);
  ASSERT_NE(message, "") << "was accepted";
  for (const std::string& part : GetParam().says) EXPECT_TRUE(contains(message, part)) << message;
}

std::string name_of(const testing::TestParamInfo<Malformed>& info) {
  return info.param.name;
}

INSTANTIATE_TEST_SUITE_P(
    Yaml, Refused,
    testing::Values(
        Malformed{"Empty", "", {"x.yaml:1:", "no keys"}},
        Malformed{"OnlyComments", "# nothing\n", {"no keys"}}, Malformed{"Null", "~\n", {"no keys"}},
        Malformed{"EmptyMapping", "{}\n", {"x.yaml:1:", "no keys"}},
        Malformed{"ListAtTop", "- a\n- b\n", {"x.yaml:1:", "list"}},
        Malformed{"TextAtTop", "hello\n", {"x.yaml:1:", "hello", "key: value"}},
        Malformed{"NoSpaceAfterColon", "a:1\nb:2\n", {"x.yaml:1:", "colon"}},
        Malformed{
            "Tab", "model:\n\tpattern: ME\n", {"x.yaml:2:", "byte 1", "tabs are not allowed, use spaces"}},
        Malformed{"TabInside", "train: {steps:\t3}\n", {"x.yaml:1:", "tabs are not allowed"}},
        Malformed{"Binary",
                  std::string("\x7f"
                              "ELF\x02\x01\0\0",
                              8),
                  {"x.yaml:1:", "0x7F"}},
        Malformed{"ZeroByte", std::string("train: {steps: 3}\n\0", 19), {"x.yaml:2:", "0x00"}},
        Malformed{"Latin1", "run: {dir: caf\xe9}\n", {"x.yaml:1:", "0xE9", "UTF-8"}},
        Malformed{"OverlongUtf8", "run: {dir: \xc0\xaf}\n", {"0xC0", "UTF-8"}},
        Malformed{"Surrogate", "run: {dir: \xed\xa0\x80}\n", {"0xED", "UTF-8"}},
        Malformed{"CutUtf8", "run: {dir: \xe2\x82", {"0xE2", "UTF-8"}},
        Malformed{"Utf16",
                  std::string("\xff\xfe"
                              "a\0",
                              4),
                  {"0xFF", "UTF-8"}},
        Malformed{"EscapedControl", "run: {dir: \"a\\x00b\"}\n", {"x.yaml:1:", "0x00"}},
        Malformed{"CarriageReturnInside", "train:\r  steps: 3\n", {"x.yaml:1:", "0x0D"}},
        Malformed{"RepeatedKey",
                  "train: {steps: 3}\nlog: {every: 1}\ntrain: {seed: 3}\n",
                  {"x.yaml:3:", "train", "repeated", "line 1"}},
        Malformed{
            "RepeatedInside", "train:\n  steps: 3\n  steps: 4\n", {"x.yaml:3:", "train.steps", "line 2"}},
        Malformed{"Anchor", "train: &t {steps: 3}\n", {"x.yaml:1:", "anchors"}},
        Malformed{"AnchorOnText", "train: {steps: &n 3}\n", {"anchors"}},
        Malformed{"Alias", "train: {steps: &n 3, seed: *n}\n", {"x.yaml:1:"}},
        Malformed{"Tag", "train: {steps: !!int 3}\n", {"x.yaml:1:", "tags"}},
        Malformed{"BareTag", "train: {steps: ! 3}\n", {"x.yaml:1:", "tags"}},
        Malformed{"TagOnMapping", "train: !!map {steps: 3}\n", {"tags"}},
        Malformed{"MergeKey", "train:\n  <<: {steps: 3}\n", {"x.yaml:2:", "merge", "extends"}},
        Malformed{
            "TwoDocuments", "train: {steps: 3}\n---\nlog: {every: 1}\n", {"x.yaml:2:", "second document"}},
        Malformed{"EndlessDocuments", ", , ,\n", {"x.yaml:1:"}},
        Malformed{"NoValue", "train:\n  steps:\n  seed: 3\n", {"x.yaml:2:", "train.steps", "no value"}},
        Malformed{"NoSection", "model:\ntrain: {steps: 3}\n", {"x.yaml:1:", "model", "no value"}},
        Malformed{"EmptySection", "model: {}\n", {"x.yaml:1:", "model", "no keys"}},
        Malformed{"UnknownEmptySection", "modle: {}\n", {"x.yaml:1:", "modle", "no keys"}},
        Malformed{"EmptyItem", "data: {train: [a,,b]}\n", {"x.yaml:1:", "empty"}},
        Malformed{"NullItem", "data: {train: [a, ~]}\n", {"x.yaml:1:", "empty", "write ~/ or \"~\""}},
        Malformed{"EmptyKey", "train: {: 3}\n", {"x.yaml:1:", "key is empty"}},
        Malformed{"ListAsKey", "[a]: 1\n", {"x.yaml:1:", "list"}},
        Malformed{"MappingAsKey", "{a: 1}: 2\n", {"x.yaml:1:", "key"}},
        Malformed{"NestedList", "data: {train: [[a]]}\n", {"x.yaml:1:", "list"}},
        Malformed{"MappingInList", "optimizer: {betas: [a: b]}\n", {"x.yaml:1:", "list holds plain values"}},
        Malformed{"MappingInItem", "data: {train: [{path: {a: b}}]}\n", {"x.yaml:1:", "inside of an item"}},
        Malformed{"ListInItem", "data: {train: [{path: [a]}]}\n", {"x.yaml:1:", "inside of an item"}},
        Malformed{
            "RepeatedInItem", "data: {train: [{path: a, path: b}]}\n", {"x.yaml:1:", "path is repeated"}},
        Malformed{"NullInItem",
                  "data: {train: [{path: a, weight: }]}\n",
                  {"x.yaml:1:", "item of the list is empty"}},
        Malformed{"DottedKey", "train.steps: 3\n", {"x.yaml:1:", "train.steps", "nested"}},
        Malformed{"OpenQuote",
                  "run: {dir: a}\nmodel:\n  pattern: \"ME\n  d_model: 64\n",
                  {"x.yaml:3:", "not closed"}},
        Malformed{"OpenSingleQuote", "run:\n  dir: 'it''s\n", {"x.yaml:2:", "not closed"}},
        Malformed{"BlockText", "run:\n  dir: |\n    a\n", {"x.yaml:2:", "not supported"}},
        Malformed{"FoldedText", "run:\n  dir: a\n    b\n", {"x.yaml:2:", "several lines", "a b"}},
        Malformed{"OpenList", "data: {train: [a, b\n", {"x.yaml:"}},
        Malformed{"OpenMapping", "data: {train: [a], \n", {"x.yaml:", "not valid YAML"}},
        Malformed{"BadIndent", "model:\n  pattern: ME\n d_model: 3\n", {"x.yaml:3:", "not valid YAML"}},
        Malformed{"PlainStar", "model: {pattern: *}\n", {"x.yaml:1:", "quotes"}},
        Malformed{"PlainDash", "model:\n  pattern: -\n", {"x.yaml:2:", "- in quotes"}},
        Malformed{"Version2", "%YAML 2.0\n---\nmodel: {d_model: 3}\n", {"not valid YAML"}}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Keys, Refused,
    testing::Values(
        Malformed{"Section",
                  "modle: {d_model: 64}\n",
                  {"x.yaml:1:", "modle.d_model", "did you mean model.d_model?"}},
        Malformed{
            "Key", "model:\n  d_modle: 64\n", {"x.yaml:2:", "model.d_modle", "did you mean model.d_model?"}},
        Malformed{"Swapped", "train: {stesp: 3}\n", {"did you mean train.steps?"}},
        Malformed{"WrongSection", "model: {d_state: 16}\n", {"did you mean model.mamba.d_state?"}},
        Malformed{"AtTheTop", "steps: 3\n", {"x.yaml:1: steps:", "did you mean train.steps?"}},
        Malformed{"BothWrong", "optimiser: {weight_decay: 0}\n", {"did you mean optimizer.weight_decay?"}},
        Malformed{"NearestSection", "chekpoint: {every: 3}\n", {"did you mean checkpoint.every?"}},
        Malformed{"NothingNear", "train: {qqqqqqqq: 1}\n", {"train.qqqqqqqq", "docs/config.md"}},
        Malformed{"TooDeep", "train: {steps: {every: 3}}\n", {"train.steps.every", "is not a key"}},
        Malformed{"SectionGivenAText", "train: 3\n", {"x.yaml:1:", "train", "section", "batch_size"}},
        Malformed{"SectionGivenAList", "train: [3]\n", {"x.yaml:1:", "train", "section"}},
        Malformed{"ExtendsMisspelled", "extend: base.yaml\n", {"did you mean extends?"}},
        Malformed{"ExtendsList", "extends: [a, b]\n", {"x.yaml:1:", "extends", "[a, b]", "one YAML file"}},
        Malformed{"ExtendsMapping", "extends: {a: b}\n", {"x.yaml:1:", "extends.a"}}),
    name_of);

Malformed value(const char* name, const std::string& key, const std::string& text,
                std::vector<std::string> says) {
  const size_t dot = key.rfind('.'), first = key.find('.');
  const std::string last = key.substr(dot + 1);
  const std::string inner = first == dot ? "" : key.substr(first + 1, dot - first - 1);
  const std::string yaml =
      inner.empty() ? fmt::format("\n{}:\n  {}: {}\n", key.substr(0, first), last, text)
                    : fmt::format("\n{}:\n  {}:\n    {}: {}\n", key.substr(0, first), inner, last, text);
  says.push_back(key);
  says.push_back(first == dot ? "x.yaml:3: " : "x.yaml:4: ");
  return {name, yaml, says};
}

INSTANTIATE_TEST_SUITE_P(
    Values, Refused,
    testing::Values(
        value("IntWithPoint", "train.steps", "3.0", {"3.0 is not an integer from 1", "did you mean 3?"}),
        value("IntWithExponent", "train.steps", "1e3", {"1e3", "did you mean 1000?"}),
        value("IntWithGaps", "train.steps", "1_000", {"did you mean 1000?"}),
        value("IntInQuotes", "train.steps", "\"10\"", {"\"10\"", "did you mean 10?"}),
        value("IntOctal", "train.steps", "010", {"010 is not an integer", "did you mean 10?"}),
        value("IntHex", "train.steps", "0x10", {"0x10 is not an integer"}),
        value("IntText", "train.steps", "many", {"many is not an integer"}),
        value("IntHuge", "train.steps", "99999999999999999999999", {"is not an integer"}),
        value("IntZero", "train.steps", "0", {"0 is not an integer from 1"}),
        value("IntNegative", "model.d_model", "-64", {"-64 is not an integer from 1"}),
        value("IntAbsurd", "model.d_model", "1000000000000", {"from 1 to"}),
        value("IntList", "train.steps", "[3]", {"[3] is not an integer"}),
        value("IntBoolean", "train.steps", "true", {"true is not an integer"}),
        value("SeedNegative", "train.seed", "-1", {"-1 is not an integer from 0"}),
        value("SeedTooLarge", "train.seed", "18446744073709551616", {"is not an integer from 0"}),
        value("NumberNan", "optimizer.lr", ".nan", {".nan is not a number"}),
        value("NumberNanWord", "optimizer.lr", "nan", {"nan is not a number"}),
        value("NumberInfinite", "optimizer.clip_grad_norm", "inf", {"inf is not a number"}),
        value("NumberYamlInfinite", "optimizer.lr", ".inf", {".inf is not a number"}),
        value("NumberOverflows", "optimizer.lr", "1e999", {"1e999 is not a number"}),
        value("NumberHex", "optimizer.lr", "0x1p-3", {"is not a number"}),
        value("NumberNegative", "optimizer.lr", "-1", {"-1 is not a number from 0"}),
        value("NumberText", "optimizer.lr", "3e-4x", {"3e-4x is not a number"}),
        value("EpsZero", "optimizer.eps", "0", {"0 is not a number from"}),
        value("NormEpsNegative", "model.norm_eps", "-1e-6", {"is not a number"}),
        value("BetaOne", "optimizer.betas", "[0.9, 1.0]", {"[0.9, 1.0]", "below 1"}),
        value("BetaNegative", "optimizer.betas", "[-0.1, 0.9]", {"at least 0"}),
        value("OneBeta", "optimizer.betas", "[0.9]", {"list of two"}),
        value("ThreeBetas", "optimizer.betas", "[0.9, 0.95, 0.99]", {"list of two"}),
        value("BareBeta", "optimizer.betas", "0.9", {"0.9 is not a list of two"}),
        value("BooleanYes", "model.tie_embeddings", "yes",
              {"yes is not true or false", "did you mean true?"}),
        value("BooleanCapital", "model.tie_embeddings", "True", {"did you mean true?"}),
        value("BooleanOne", "sequence.carry_state", "1", {"did you mean true?"}),
        value("BooleanQuoted", "sequence.carry_state", "\"false\"", {"did you mean false?"}),
        value("ChoiceMisspelled", "model.moe.router", "sofmax",
              {"softmax or sigmoid", "did you mean softmax?"}),
        value("ChoiceCapital", "model.mlp.activation", "SwiGLU", {"did you mean swiglu?"}),
        value("ChoiceUnknown", "model.mlp.activation", "tanh", {"tanh is not swiglu, geglu, gelu or relu2"}),
        value("ChoiceList", "optimizer.schedule", "[cosine]", {"[cosine] is not"}),
        value("Resume", "checkpoint.resume", "true", {"true is not auto or never", "did you mean auto?"}),
        value("ResumeNot", "checkpoint.resume", "false", {"did you mean never?"}),
        value("AutoMisspelled", "device.threads", "atuo", {"did you mean auto?"}),
        value("ThreadsZero", "device.threads", "0", {"auto, or an integer from 1"}),
        value("BytesUnit", "sequence.boundary_memory", "1Gib", {"GiB"}),
        value("BytesNegative", "sequence.boundary_memory", "-1GiB", {"-1GiB is not"}),
        value("BytesAbsurd", "sequence.boundary_memory", "9999999TiB", {"1024TiB"}),
        value("TimeWithoutUnit", "parallel.timeout", "300", {"300 is not a time", "did you mean 300s?"}),
        value("TimeZero", "parallel.timeout", "0s", {"0s is not a time"}),
        value("TimeAbsurd", "parallel.timeout", "1000000000h", {"is not a time"}),
        value("CapacityZero", "model.moe.capacity_factor", "0", {"none, or a number"}),
        value("PathEmpty", "run.dir", "\"\"", {"the path is empty; expected a path"}),
        value("PathEmptyOrNone", "data.batches", "\"\"", {"the path is empty; expected none, or a path"}),
        value("PathNull", "run.dir", "~", {"has no value", "write ~/ or \"~\""}),
        value("PathList", "run.dir", "[a, b]", {"[a, b] is not a path"}),
        value("ItemOfOtherKey", "data.train", "[{path: a, wieght: 1}]", {"did you mean weight?"}),
        value("ItemWithoutPath", "data.train", "[{weight: 1}]", {"an item has no path"}),
        value("ItemWithEmptyPath", "data.train", "[{path: \"\"}]", {"an item has no path"}),
        value("WeightOfZero", "data.train", "[{path: a, weight: 0}]", {"weight 0 is not a number from"}),
        value("WeightOfText", "data.train", "[{path: a, weight: much}]",
              {"weight much is not a number from"}),
        value("EmptyItemKey", "data.train", "[{path: a, key: \"\"}]", {"key is empty"}),
        value("PathsWithEmpty", "data.train", "[a, \"\"]", {"a path of the list is empty"}),
        value("PatternEmpty", "model.pattern", "\"\"", {"is not a text, a letter a sublayer"})),
    name_of);

/// A minimal experiment with one more block.
Malformed contradiction(const char* name, const std::string& more, std::vector<std::string> says) {
  return {name, "model: {pattern: ME, d_model: 64}\n" + more, says};
}

const std::string kData = "data: {train: [a]}\n";

INSTANTIATE_TEST_SUITE_P(
    Contradictions, Refused,
    testing::Values(
        Malformed{
            "NoPattern", "model: {d_model: 3}\n" + kData, {"x.yaml: model.pattern: missing", "pattern: ME"}},
        Malformed{"NoWidth", "model: {pattern: M}\n" + kData, {"x.yaml: model.d_model: missing"}},
        Malformed{"TooManyLayers",
                  "model: {pattern: MEMEME, d_model: 3, repeat: 100000}\n" + kData,
                  {"100000 layers"}},
        Malformed{"TooManyWeights",
                  "model: {pattern: ME, d_model: 16777216, repeat: 50000, moe: {d_ff: 16777216}}\n" + kData,
                  {"x.yaml:1: model.d_model", "weights"}},
        contradiction("TooManyNumbers",
                      kData + "sequence: {length: 1099511627776}\ntrain: {batch_size: 2147483648}\n",
                      {"x.yaml:3: sequence.length"}),
        contradiction("NoData", "log: {every: 1}\n", {"x.yaml: data.train: missing", "batches"}),
        contradiction("TwoKindsOfData", "data:\n  train: [a]\n  batches: b\n", {"x.yaml:4: data.batches"}),
        contradiction("ChunkTooLong", kData + "sequence: {length: 64, chunk: 65}\n",
                      {"x.yaml:3: sequence.chunk: 65", "64", "monolithic"}),
        contradiction("CarryShuffled", kData + "sequence: {carry_state: true}\n",
                      {"x.yaml:3: sequence.carry_state", "data.order: sequential"}),
        contradiction("MicroBatch", kData + "train: {batch_size: 8, micro_batch_size: 3}\n",
                      {"x.yaml:3: train.micro_batch_size: 3", "batch_size 8"}),
        contradiction("MinLr", kData + "optimizer: {lr: 1e-4, min_lr: 1e-3}\n",
                      {"x.yaml:3: optimizer.min_lr: 0.001"}),
        contradiction("Warmup", kData + "train: {steps: 10}\noptimizer: {warmup_steps: 11}\n",
                      {"x.yaml:4: optimizer.warmup_steps: 11", "train.steps 10"}),
        contradiction("Decay", kData + "train: {steps: 150}\noptimizer: {schedule: wsd, decay_steps: 151}\n",
                      {"x.yaml:4: optimizer.decay_steps: 151"}),
        contradiction("Optimizer", kData + "optimizer: {name: sgd}\n",
                      {"x.yaml:3: optimizer.name: sgd is not adamw"}),
        Malformed{"TopK",
                  "model: {pattern: ME, d_model: 3, moe: {num_experts: 4, top_k: 5}}\n" + kData,
                  {"x.yaml:1: model.moe.top_k: 5", "num_experts"}}),
    name_of);

TEST(Malformed, AllProblemsAreToldAtOnce) {
  const std::string message =
      complaint("train: {stepz: 3, seed: x}\nlog:\n  every: 0\n", {"optimizer.lr=fast", "nonsense"});
  for (const char* part : {"x.yaml:1: train.stepz", "x.yaml:1: train.seed", "x.yaml:3: log.every",
                           "command line: optimizer.lr", "command line: nonsense"}) {
    EXPECT_TRUE(contains(message, part)) << part << " in\n" << message;
  }
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 4);
}

TEST(Malformed, AFileFullOfProblemsIsCutShort) {
  std::string text = "train:\n";
  for (int i = 0; i < 50000; ++i) text += fmt::format("  k{}: 1\n", i);
  const std::string message = complaint(text);
  EXPECT_TRUE(contains(message, "stopped after 20 problems")) << message;
  EXPECT_LT(message.size(), 4000u);
}

TEST(Malformed, LongValuesAreShownShort) {
  const std::string message = complaint("train: {steps: " + std::string(100000, 'x') + "}\n");
  EXPECT_TRUE(contains(message, "xxx... is not an integer"));
  EXPECT_LT(message.size(), 300u);
}

TEST(Malformed, NestingAndSizeAreBounded) {
  for (const char* open : {"a: {", "a: [", "{", "[", "? ", "- "}) {
    std::string text;
    while (text.size() < 10000) text += open;
    EXPECT_NE(complaint(text), "") << open;
  }
  std::string block;
  for (size_t i = 0; i < 100; ++i) block += std::string(i, ' ') + "a:\n";
  EXPECT_TRUE(contains(complaint(block), "nested too deeply"));
  EXPECT_TRUE(contains(complaint("# " + std::string(1 << 20, 'x')), "larger than 1 MiB"));
}

TEST(Malformed, TextsThatLookOddAreFine) {
  EXPECT_EQ(complaint("\xef\xbb\xbf" + kMinimal), "") << "byte order mark";
  EXPECT_EQ(complaint("model: {pattern: 'ME', d_model: 64}\r\ndata:\r\n  train: [a]\r\n"), "")
      << "Windows lines";
  EXPECT_EQ(complaint("---\n" + kMinimal + "...\n"), "");
  EXPECT_EQ(complaint("%YAML 1.2\n---\n" + kMinimal), "");
  EXPECT_EQ(parse(kMinimal + "run: {dir: \"caf\u00e9 \\\"x\\\" #1\"}\n").config.run.dir,
            "caf\u00e9 \"x\" #1");
  EXPECT_EQ(parse(kMinimal + "run: {dir: 'it''s'}  # 'quoted\n").config.run.dir, "it's");
  EXPECT_EQ(parse("model: {pattern: \"-\", d_model: 8}\ndata: {train: a}\n").config.model.pattern, "-");
}

class MalformedFiles : public ConfigFiles {};

TEST_F(MalformedFiles, CannotBeRead) {
  EXPECT_TRUE(contains(file_complaint((folder_ / "missing.yaml").string()),
                       "missing.yaml: cannot be read: No such file"));
  EXPECT_TRUE(contains(file_complaint(folder_.string()), "is a directory"));
  EXPECT_TRUE(
      contains(file_complaint(write("large.yaml", std::string((1 << 20) + 1, '#'))), "larger than 1 MiB"));
  EXPECT_TRUE(contains(file_complaint("/dev/zero"), "/dev/zero: is larger than 1 MiB"));
  EXPECT_TRUE(contains(file_complaint("/dev/null"), "no keys"));
  EXPECT_TRUE(contains(file_complaint(""), "cannot be read"));
}

TEST_F(MalformedFiles, ExtendsInACircle) {
  const std::string a = write("a.yaml", "extends: b.yaml\n" + kMinimal);
  write("b.yaml", "# second\nextends: sub/c.yaml\n");
  write("sub/c.yaml", "extends: ../sub/../a.yaml\n");
  const std::string message = file_complaint(a);
  EXPECT_TRUE(contains(message, "sub/c.yaml:1: extends goes in a circle")) << message;
  for (const char* name : {"a.yaml -> ", "b.yaml -> ", "c.yaml -> "})
    EXPECT_TRUE(contains(message, name)) << message;
  EXPECT_TRUE(contains(file_complaint(write("self.yaml", "extends: self.yaml\n")), "circle"));
}

TEST_F(MalformedFiles, ExtendsTooFar) {
  for (int i = 0; i < 40; ++i) {
    write(fmt::format("f{}.yaml", i), fmt::format("extends: f{}.yaml\n{}", i + 1, kMinimal));
  }
  EXPECT_TRUE(contains(file_complaint((folder_ / "f0.yaml").string()), "more than 16 files"));
}

TEST_F(MalformedFiles, ExtendsNothing) {
  const std::string message = file_complaint(write("a.yaml", "\nextends: gone.yaml\n"));
  EXPECT_TRUE(contains(message, "a.yaml:2: extends: ")) << message;
  EXPECT_TRUE(contains(message, "gone.yaml: cannot be read")) << message;
}

TEST_F(MalformedFiles, TheBaseIsToBlame) {
  write("base.yaml", "train:\n  steps: 0\n");
  const std::string message = file_complaint(write("a.yaml", "extends: base.yaml\n" + kMinimal));
  EXPECT_TRUE(contains(message, "base.yaml:2: train.steps: 0")) << message;
}

struct BadOverride {
  std::string text;
  std::string says;
};

TEST(Malformed, Overrides) {
  const std::vector<BadOverride> all = {
      {"train.steps", "is not an override; expected section.key=value"},
      {"=3", "is not an override"},
      {"train.stpes=3", "did you mean train.steps?"},
      {"steps=3", "did you mean train.steps?"},
      {"train=3", "is a section"},
      {"extends=a.yaml", "belongs into a file"},
      {"train.steps=", "\"\" is not an integer"},
      {"train.steps= 3", " 3 is not an integer"},
      {"train.steps=3.0", "did you mean 3?"},
      {"data.train=[a", "data.train"},
      {"data.train=[a]\nb", "0x0A"},
      {"data.train=[]", "missing"},
      {"data.train=[\"\"]", "data.train: a path of the list is empty"},
      {"data.train=[~]", "write ~/"},
      {"run.dir=", "run.dir: the path is empty"},
      {"data.batches=", "data.batches: the path is empty"},
      {"data.tokenizer=\"\"", "data.tokenizer: the path is empty"},
      {"run.dir=\xff", "UTF-8"},
      {"run.dir=\"a", "run.dir"},
      {"model.moe.top_k=9", "command line: model.moe.top_k: 9"},
      {"optimizer.betas=[0.9, 2]", "command line: optimizer.betas: [0.9, 2]"}};
  for (const BadOverride& o : all) {
    const std::string message = complaint(kMinimal, {o.text});
    EXPECT_TRUE(contains(message, "command line") || contains(message, "x.yaml"))
        << o.text << ": " << message;
    EXPECT_TRUE(contains(message, o.says)) << o.text << ": " << message;
  }
}

}  // namespace
}  // namespace natrix
