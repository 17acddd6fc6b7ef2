// natrix eval against a count by hand from the logits of natrix score.
#include <cmath>
#include <filesystem>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <numbers>

#include "core/files/safetensors.h"
#include "kernels/base/buffer.h"
#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int64_t kEod = 256;

/// A document as the model sees it: the separator, the bytes, the separator.
std::vector<int64_t> as_tokens(const std::string& text) {
  std::vector<int64_t> tokens = {kEod};
  for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
  tokens.push_back(kEod);
  return tokens;
}

double cross_entropy(const float* logits, int64_t vocabulary, int64_t target) {
  double top = -INFINITY, sum = 0;
  for (int64_t v = 0; v < vocabulary; ++v) top = std::max(top, static_cast<double>(logits[v]));
  for (int64_t v = 0; v < vocabulary; ++v) sum += std::exp(static_cast<double>(logits[v]) - top);
  return top + std::log(sum) - static_cast<double>(logits[target]);
}

/// Σ −log p of the tokens after the first, each read from the start of its window of `context` inputs,
/// through the program's own logits; `nats_at`, of each position in its window.
double nats_by_hand(const std::vector<int64_t>& tokens, int64_t context, std::vector<double>& nats_at) {
  const ScratchDir scratch;
  const auto inputs = static_cast<int64_t>(tokens.size()) - 1;
  nats_at.assign(static_cast<size_t>(std::min(context, inputs)), 0.0);
  double nats = 0;
  for (int64_t first = 0; first < inputs; first += context) {
    const int64_t n = std::min(context, inputs - first);
    Buffer window(Dtype::kI64, {1, n});
    std::copy_n(tokens.begin() + first, n, window.view().as<int64_t>());
    write_safetensors(scratch / "window", {{"tokens", window.view()}});
    natrix_json({"score", trained_run(), "--tokens", scratch / "window", "--out", scratch / "scores"});
    const Safetensors scores(scratch / "scores");
    const View logits = scores.at("logits");
    for (int64_t t = 0; t < n; ++t) {
      const int64_t v = logits.extent(2);
      const double x =
          cross_entropy(logits.as<float>() + t * v, v, tokens[static_cast<size_t>(first + t + 1)]);
      nats += x;
      nats_at[static_cast<size_t>(t)] += x;
    }
  }
  return nats;
}

// Logits in f32 of size 10 are known to 1e-6, and so is a cross-entropy, whose terms are added in double.
constexpr double kClose = 1e-5;

class Eval : public ::testing::TestWithParam<int64_t> {};

TEST_P(Eval, CountsBitsByHand) {
  const ScratchDir scratch;
  const std::string text = some_text(300, 5);
  write_file(scratch / "text", text);
  const int64_t context = GetParam(), length = context == 0 ? 1000 : context;
  std::vector<double> nats_at;
  const double nats = nats_by_hand(as_tokens(text), length, nats_at);
  const json r = natrix_json({"eval", trained_run(), "--data", scratch / "text", "--context",
                              std::to_string(context), "--batch-size", "3", "--chunk", "17"});
  EXPECT_EQ(r["predictions"], 301);  // each byte, and that the document then ends
  EXPECT_EQ(r["bytes"], 300);
  EXPECT_NEAR(r["loss"].get<double>(), nats / 301, kClose);
  EXPECT_NEAR(r["bits_per_byte"].get<double>(), nats / std::numbers::ln2 / 300, kClose);
  EXPECT_NEAR(r["perplexity"].get<double>(), std::exp(nats / 301), kClose * std::exp(nats / 301));

  int64_t from = 0, predictions = 0;
  for (const json& bucket : r["loss_by_position"]) {  // 0, 16, 32, 64, …
    EXPECT_EQ(bucket["from"], from);
    const int64_t end =
        std::min<int64_t>(std::max<int64_t>(2 * from, 16), static_cast<int64_t>(nats_at.size()));
    double sum = 0;
    for (int64_t p = from; p < end; ++p) sum += nats_at[static_cast<size_t>(p)];
    const auto n = bucket["predictions"].get<int64_t>();
    EXPECT_NEAR(bucket["loss"].get<double>(), sum / static_cast<double>(n), kClose) << "from " << from;
    predictions += n;
    from = end;
  }
  EXPECT_EQ(predictions, 301);
}

INSTANTIATE_TEST_SUITE_P(Context, Eval, ::testing::Values(0, 50, 100000),
                         [](const auto& info) { return std::to_string(info.param); });

// One long window and the stream read the same, where documents begin, too: with a separator, and without
// one, where the first byte of a document follows nothing and is predicted by nothing.
TEST(EvalDocuments, AWindowThatHoldsAllEqualsTheStream) {
  const TinyRun tiny;
  fs::create_directory(tiny / "texts");
  for (const uint64_t seed : {1u, 2u, 3u})
    write_file(tiny / "texts/" + std::to_string(seed), some_text(100, seed));
  for (const std::string vocabulary : {"257", "256"}) {
    ASSERT_EQ(tiny.train(vocabulary, {"model.vocab_size=" + vocabulary, "train.steps=10"}).status, 0);
    for (const bool joined : {false, true}) {
      std::vector<std::string> args = {"eval", tiny / vocabulary, "--data", tiny / "texts"};
      if (joined) args.push_back("--joined");
      const json stream = natrix_json(args);
      args.insert(args.end(), {"--context", "5000"});
      const json window = natrix_json(args);
      SCOPED_TRACE("vocabulary " + vocabulary + (joined ? ", joined" : ", packed"));
      EXPECT_EQ(stream["predictions"], window["predictions"]);
      EXPECT_EQ(stream["bytes"], window["bytes"]);
      EXPECT_NEAR(stream["loss"].get<double>(), window["loss"].get<double>(), kClose);
      EXPECT_NEAR(stream["bits_per_byte"].get<double>(), window["bits_per_byte"].get<double>(), kClose);
    }
  }
}

TEST(EvalDocuments, OneChangedDocumentChangesNothingOfTheOthers) {
  const ScratchDir scratch;
  const auto loss_of = [&](const std::vector<std::string>& texts) {
    std::vector<std::string> args = {"eval", trained_run(), "--data"};
    for (size_t i = 0; i < texts.size(); ++i) {
      write_file(scratch / std::to_string(i), texts[i]);
      args.push_back(scratch / std::to_string(i));
    }
    const json r = natrix_json(args);
    return r["loss"].get<double>() * r["predictions"].get<double>();
  };
  const std::string a = some_text(80, 1), b = some_text(80, 2), c = some_text(80, 3);
  EXPECT_NEAR(loss_of({a, b}) - loss_of({a}), loss_of({c, b}) - loss_of({c}), kClose);
}

TEST(EvalDuringTraining, LogsWhatEvalSaysOfTheCheckpoint) {
  const TinyRun tiny;
  write_file(tiny / "held-out", some_text(500, 9));
  ASSERT_EQ(tiny.train("run", {"data.eval=[" + tiny / "held-out" + "]", "train.eval_every=20"}).status, 0);
  const json said = natrix_json({"eval", tiny / "run", "--data", tiny / "held-out", "--context", "32"});
  std::vector<json> logged;
  for (const std::string& line : curve(tiny / "run")) {
    if (json figures = json::parse(line); figures.contains("eval_loss")) logged.push_back(figures);
  }
  ASSERT_EQ(logged.size(), 2u);
  EXPECT_EQ(logged[0]["step"], 20);
  EXPECT_EQ(logged[1]["step"], 40);
  EXPECT_NEAR(logged[1]["eval_loss"].get<double>(), said["loss"].get<double>(), kClose);
  EXPECT_NEAR(logged[1]["eval_bits_per_byte"].get<double>(), said["bits_per_byte"].get<double>(), kClose);
}

}  // namespace
}  // namespace natrix::test
