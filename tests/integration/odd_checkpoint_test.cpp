// Every command with checkpoints that contradict themselves, and with tokenizers of their own.
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/files/safetensors.h"
#include "core/tokenizers/byte_tokenizer_json.h"
#include "kernels/base/buffer.h"
#include "tests/launch/ranks.h"
#include "tests/launch/spoil.h"
#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;
using Words = std::vector<std::string>;

constexpr const char* kWarning = "natrix: warning: ";

/// A copy of the good files.
class Copy {
 public:
  Copy() { fs::copy(good_files(), scratch_.path(), fs::copy_options::recursive); }
  std::string operator/(const std::string& name) const { return scratch_ / name; }
  std::string model() const { return scratch_ / "model"; }
  const std::string& path() const { return scratch_.path(); }

  /// natrix COMMAND; "@" stands for this directory.
  Outcome run(Words words) const {
    for (std::string& word : words) {
      if (const size_t at = word.find('@'); at != std::string::npos) word.replace(at, 1, scratch_.path());
    }
    return natrix_program(words);
  }
  Outcome train(const std::string& run_dir, const Words& overrides) const {
    Words words = {"train", "@/train.yaml", "run.dir=@/" + run_dir, "train.steps=1",
                   "optimizer.warmup_steps=0"};
    words.insert(words.end(), overrides.begin(), overrides.end());
    return run(words);
  }

 private:
  ScratchDir scratch_;
};

/// Adds a head to the tied model: another one, or the embedding once more.
void add_head(const std::string& model, bool other) {
  const std::string path = model + "/model.safetensors";
  std::vector<NamedTensor> tensors;
  Buffer head;
  {
    const Safetensors file(path);
    const View embedding = file.at("model.embed_tokens.weight");
    head = Buffer(embedding.dtype, embedding.shape);
    copy(embedding, head.view());
    if (other) {
      for (int64_t i = 0; i < head.view().count(); ++i) head.view().as<float>()[i] *= -3;
    }
    for (const auto& [name, view] : file.tensors()) tensors.push_back({name, view});
    tensors.push_back({"lm_head.weight", head.view()});
    write_safetensors(model + "/new", tensors);
  }
  fs::rename(model + "/new", path);
}

/// The lines that warn.
int64_t warnings_in(const std::string& err) {
  int64_t n = 0;
  for (size_t at = err.find("warning: "); at != std::string::npos; at = err.find("warning: ", at + 1)) ++n;
  return n;
}

const Words kScoreIt = {"score", "@/model", "--tokens", "@/tokens.safetensors",
                        "--out", "@/out",   "-q",       "--json"};

// The same weights in a directory that says that they are untied are the reference.
TEST(UntiedHead, EveryCommandReadsItAndWarnsOnce) {
  const Copy files;
  const std::string start = "model.init_from=@/model";
  const Words commands[] = {
      kScoreIt,
      {"gradients", "@/model", "--tokens", "@/tokens.safetensors", "--out", "@/out", "-q", "--json"},
      {"generate", "@/model", "--tokens", "@/tokens.safetensors", "--out", "@/out", "-n", "9", "--temp", "0",
       "-q"},
      {"generate", "@/model", "-p", "In the", "-n", "9", "--temp", "0", "-q"},
      {"eval", "@/model", "--data", "@/text.txt", "-q"},
      {"inspect", "@/model", "--tensors"},
      {"inspect", "@/train.yaml", start},
      {"verify", "@/train.yaml", start, "--chunks", "whole,8", "--quiet"},
      {"train", "@/train.yaml", start, "--print-config"}};
  add_head(files.model(), true);
  std::vector<Outcome> contradictory, consistent;
  std::vector<std::string> written;
  for (const bool says_so : {false, true}) {
    if (says_so) config("tie_word_embeddings", false)(files.path());
    for (const Words& command : commands) {
      (says_so ? consistent : contradictory).push_back(files.run(command));
      written.push_back(read_file_if_any(files / "out"));
      fs::remove(files / "out");
    }
  }
  for (size_t i = 0; i < contradictory.size(); ++i) {
    SCOPED_TRACE(commands[i][0] + " " + commands[i][1] + " " + commands[i][2]);
    const Outcome &c = contradictory[i], &plain = consistent[i];
    EXPECT_EQ(c.status, 0) << c.err;
    EXPECT_EQ(plain.status, 0) << plain.err;
    EXPECT_EQ(warnings_in(c.err), 1) << c.err;
    EXPECT_EQ(warnings_in(plain.err), 0) << plain.err;
    for (const std::string& part :
         {std::string(kWarning), files / "model/config.json", std::string("lm_head.weight"),
          std::string("model.embed_tokens.weight"), files / "model/model.safetensors"})
      EXPECT_THAT(c.err, HasSubstr(part));
    EXPECT_EQ(written[i], written[i + contradictory.size()]) << "not what it is when config.json says so";
    EXPECT_EQ(c.out == plain.out || commands[i][0] == "verify", true) << c.out;  // its table has times
  }
  EXPECT_THAT(contradictory.back().out, HasSubstr("tie_embeddings: false"));
}

TEST(UntiedHead, ACopyOfTheEmbeddingStaysTiedInSilence) {
  const Copy files;
  ASSERT_EQ(files.run(kScoreIt).status, 0);
  const std::string before = read_file(files / "out");
  add_head(files.model(), false);
  const Outcome r = files.run(kScoreIt);
  EXPECT_EQ(r.status, 0);
  EXPECT_EQ(r.err, "");
  EXPECT_EQ(read_file(files / "out"), before);
  const Outcome facts = files.run({"inspect", "@/model", "--tensors"});
  EXPECT_THAT(facts.out, Not(HasSubstr("lm_head.weight")));
}

TEST(UntiedHead, TheHeadAloneIsTheEmbedding) {
  const Copy files;
  ASSERT_EQ(files.run(kScoreIt).status, 0);
  const std::string before = read_file(files / "out");
  header([](json& h) {
    h["lm_head.weight"] = h["model.embed_tokens.weight"];
    h.erase("model.embed_tokens.weight");
  })(files.path());
  const Outcome r = files.run(kScoreIt);
  EXPECT_EQ(r.status, 0);
  EXPECT_EQ(r.err, "");
  EXPECT_EQ(read_file(files / "out"), before);
  ASSERT_EQ(files.train("run", {"model.init_from=@/model"}).status, 0);
  const Safetensors saved(files / "run/checkpoints/step-00000001/model.safetensors");
  EXPECT_TRUE(saved.contains("model.embed_tokens.weight"));
  EXPECT_FALSE(saved.contains("lm_head.weight"));
}

TEST(UntiedHead, TrainsAndIsSavedUntied) {
  const Copy files;
  add_head(files.model(), true);
  const Words start = {"model.init_from=@/model"};
  const Outcome r = files.train("run", start);
  ASSERT_EQ(r.status, 0) << r.err;
  EXPECT_EQ(warnings_in(r.err), 1) << r.err;
  EXPECT_THAT(read_file(files / "run/natrix.log"), HasSubstr("lm_head.weight"));
  EXPECT_THAT(read_file(files / "run/config.yaml"), HasSubstr("tie_embeddings: false"));
  const std::string saved = files / "run/checkpoints/step-00000001";
  EXPECT_EQ(json::parse(read_file(saved + "/config.json"))["tie_word_embeddings"], false);
  EXPECT_TRUE(Safetensors(saved + "/model.safetensors").contains("lm_head.weight"));
  const Outcome again =
      files.run({"score", "@/run", "--tokens", "@/tokens.safetensors", "--out", "@/out", "-q"});
  EXPECT_EQ(again.status, 0);
  EXPECT_EQ(again.err, "");
  const Outcome longer = files.train("run", {start[0], "train.steps=2"});
  EXPECT_EQ(longer.status, 0) << longer.err;

  const Outcome asked = files.train("other", {start[0], "model.tie_embeddings=true"});
  EXPECT_EQ(asked.status, 2);
  EXPECT_THAT(asked.err, HasSubstr("model.tie_embeddings is true, but "));
  EXPECT_THAT(asked.err, HasSubstr("lm_head.weight"));
  EXPECT_EQ(files.train("other", {start[0], "model.tie_embeddings=false"}).status, 0);
}

TEST(UntiedHead, RanksWarnOnce) {
  if (!built_with_mpi()) GTEST_SKIP() << "this build has no MPI";
  const Copy files;
  add_head(files.model(), true);
  Words words = mpirun_words(2);
  words.insert(words.end(), {"eval", files.model(), "--data", files / "text.txt", "-q"});
  const Outcome r = any_program(words);
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_EQ(warnings_in(r.err), 1) << r.err;
}

// One that natrix cannot read, because its merges are drawn at random: the end is 0, "!" is 1.
std::string tokenizer_of_others() {
  json t = json::parse(byte_tokenizer_json(257));
  for (auto& [letter, id] : t["model"]["vocab"].items()) id = id.get<int>() + 1;
  t["model"]["vocab"]["<|endoftext|>"] = t["added_tokens"][0]["id"] = 0;
  t["model"]["dropout"] = 0.1;
  return t.dump();
}

TEST(OwnTokenizerOf, AnotherKindIsRefusedForTextAndNotForTokens) {
  const Copy files;
  put("model/tokenizer.json", tokenizer_of_others())(files.path());
  config("eos_token_id", 0)(files.path());
  const std::string before = read_file(files / "model/tokenizer.json");
  const Words texts[] = {{"eval", "@/model", "--data", "@/text.txt", "-q"},
                         {"generate", "@/model", "-p", "abc", "-n", "1", "-q"}};
  for (Words command : texts) {
    const Outcome r = files.run(command);
    EXPECT_EQ(r.status, 2);
    EXPECT_EQ(r.out, "");
    for (const std::string& part :
         {files / "model/tokenizer.json", std::string("--tokens"), std::string("--tokenizer bytes")})
      EXPECT_THAT(r.err, HasSubstr(part));
    command.insert(command.end(), {"--tokenizer", "bytes"});
    EXPECT_EQ(files.run(command).status, 0);
  }
  EXPECT_EQ(files.run(kScoreIt).status, 0);
  EXPECT_EQ(files.run({"generate", "@/model", "--tokens", "@/tokens.safetensors", "--out", "@/g", "-n", "2"})
                .status,
            0);

  const std::string start = "model.init_from=@/model";
  const Outcome refused = files.train("run", {start});
  EXPECT_EQ(refused.status, 2);
  for (const std::string& part :
       {files / "model/tokenizer.json", std::string("data.batches"), std::string("data.tokenizer=bytes")})
    EXPECT_THAT(refused.err, HasSubstr(part));
  EXPECT_FALSE(fs::exists(files / "run"));

  const Outcome bytes = files.train("run", {start, "data.tokenizer=bytes"});
  EXPECT_EQ(bytes.status, 0) << bytes.err;
  const std::string saved = files / "run/checkpoints/step-00000001/";
  EXPECT_EQ(read_file(saved + "tokenizer.json"), byte_tokenizer_json(257));
  EXPECT_EQ(json::parse(read_file(saved + "config.json"))["eos_token_id"], 256);
  EXPECT_EQ(read_file(files / "model/tokenizer.json"), before);
}

TEST(OwnTokenizerOf, TrainingOnTokensTakesItAlong) {
  const Copy files;
  put("model/tokenizer.json", tokenizer_of_others())(files.path());
  put("model/special_tokens_map.json", "{}")(files.path());
  config("eos_token_id", 0)(files.path());
  const Buffer batches(Dtype::kI64, {1, 2, 33});
  write_safetensors(files / "batches.safetensors", {{"tokens", batches.view()}});
  const Words tokens = {"model.init_from=@/model", "data.train=[]", "data.batches=@/batches.safetensors"};
  const Outcome r = files.train("run", tokens);
  ASSERT_EQ(r.status, 0) << r.err;
  const auto check = [&](const std::string& run) {
    const std::string saved = files / run + "/checkpoints/step-00000001/";
    for (const std::string name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"})
      EXPECT_EQ(read_file(saved + name), read_file(files / "model/" + name)) << name;
    EXPECT_EQ(json::parse(read_file(saved + "config.json"))["eos_token_id"], 0);
  };
  check("run");
  const Outcome again = files.run({"train", "@/run/config.yaml", "run.dir=@/again"});
  ASSERT_EQ(again.status, 0) << again.err;
  check("again");
}

TEST(OwnTokenizerOf, OtherFilesOfTokenizersAreRefusedToo) {
  const Copy files;
  for (const char* file : {"tokenizer.json", "tokenizer_config.json"})
    remove("model/" + std::string(file))(files.path());
  const Words command = {"eval", "@/model", "--data", "@/text.txt", "-q"};
  EXPECT_EQ(files.run(command).status, 0) << "none at all, and 257 ids: bytes";
  put("model/tokenizer.model", "x")(files.path());
  const Outcome r = files.run(command);
  EXPECT_EQ(r.status, 2);
  EXPECT_THAT(r.err, HasSubstr("model/tokenizer.model"));
}

TEST(PaddedVocabulary, ReadsItsOwnCheckpoint) {
  const TinyRun tiny;
  for (const std::string vocabulary : {"264", "320"}) {
    const std::string run = tiny / vocabulary;
    const Outcome r = tiny.train(
        vocabulary, {"model.vocab_size=" + vocabulary, "train.steps=2", "optimizer.warmup_steps=1"});
    ASSERT_EQ(r.status, 0) << r.err;
    const std::string saved = run + "/checkpoints/step-00000002/";
    EXPECT_EQ(read_file(saved + "tokenizer.json"), byte_tokenizer_json(257));
    const json c = json::parse(read_file(saved + "config.json"));
    EXPECT_EQ(c["eos_token_id"], 256);
    EXPECT_EQ(c["vocab_size"], std::stoi(vocabulary));
    EXPECT_GT(natrix_json({"eval", run, "--data", tiny / "text.txt"})["predictions"], 0);
    // Almost all that an untrained model says is drawn evenly, padding too, which is no text.
    const json said =
        natrix_json({"generate", run, "-p", "In the", "-n", "400", "--ignore-eos", "--temp", "9"});
    EXPECT_EQ(said["generated"], 400);
    EXPECT_EQ(said["position"], 406);
    const Outcome tuned = tiny.train(vocabulary + "-tuned",
                                     {"model.init_from=" + run, "train.steps=1", "optimizer.warmup_steps=0"});
    EXPECT_EQ(tuned.status, 0) << tuned.err;
    EXPECT_EQ(read_file(run + "-tuned/checkpoints/step-00000001/tokenizer.json"), byte_tokenizer_json(257));
  }
}

}  // namespace
}  // namespace natrix::test
