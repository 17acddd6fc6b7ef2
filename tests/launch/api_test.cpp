// The C++ API against the natrix program, and its gradients against finite differences.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <memory>
#include <natrix/natrix.h>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/files/random.h"
#include "core/files/safetensors.h"
#include "kernels/base/buffer.h"
#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

using ::testing::HasSubstr;

constexpr const char* kPrompt = "the deep was without form. let there be ";
const std::vector<std::string> kBackends = {"cpu", "reference"};

std::vector<int64_t> some_tokens(size_t count) {
  const std::string text = some_text(static_cast<int64_t>(count), 5);
  return {text.begin(), text.end()};
}

std::string tokens_file(const ScratchDir& scratch, const std::vector<int64_t>& tokens, int64_t rows) {
  const std::string path = scratch / "tokens.safetensors";
  const View all(const_cast<int64_t*>(tokens.data()), Dtype::kI64, {rows, std::ssize(tokens) / rows});
  write_safetensors(path, {{"tokens", all}});
  return path;
}

template <class F>
Error error_of(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e;
  }
  ADD_FAILURE() << "no Error";
  return {"", 0};
}

bool same_bits(const std::vector<float>& values, View stored) {
  return std::ssize(values) == stored.count() &&
         std::memcmp(values.data(), stored.data, values.size() * sizeof(float)) == 0;
}

double dot(const FloatTensors& a, const FloatTensors& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].name, b[i].name);
    for (size_t j = 0; j < a[i].values.size(); ++j)
      sum += static_cast<double>(a[i].values[j]) * static_cast<double>(b[i].values[j]);
  }
  return sum;
}

/// a + s · b
FloatTensors moved(FloatTensors a, double s, const FloatTensors& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    for (size_t j = 0; j < a[i].values.size(); ++j)
      a[i].values[j] += static_cast<float>(s * static_cast<double>(b[i].values[j]));
  }
  return a;
}

FloatTensors random_like(FloatTensors like, double scale, uint64_t seed) {
  SplitMix64 random(seed);
  for (FloatTensor& t : like) {
    for (float& v : t.values) v = static_cast<float>(scale * random.normal());
  }
  return like;
}

/// The largest difference of any tensor, relative to its largest value.
double difference(const FloatTensors& a, const FloatTensors& b) {
  EXPECT_EQ(a.size(), b.size());
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].name, b[i].name);
    float largest = 0, apart = 0;
    for (size_t j = 0; j < a[i].values.size(); ++j) {
      largest = std::max(largest, std::fabs(a[i].values[j]));
      apart = std::max(apart, std::fabs(a[i].values[j] - b[i].values[j]));
    }
    if (largest > 0) worst = std::max(worst, static_cast<double>(apart / largest));
  }
  return worst;
}

TEST(Api, WritesWhatTheCommandWrites) {
  const LanguageModel model = open(trained_run());
  for (const double temp : {0.0, 0.8}) {
    TextSession text = model.session();
    text.read(kPrompt);
    std::string heard;
    const GenerateOptions options{.tokens = 40, .temp = temp, .repeat_penalty = 1.1, .seed = 3};
    const std::string written = text.generate(options, [&](std::string_view piece) { heard += piece; });
    const nlohmann::json r = natrix_json({"generate", trained_run(), "-p", kPrompt, "-n", "40", "--temp",
                                          std::to_string(temp), "--repeat-penalty", "1.1", "--seed", "3"});
    EXPECT_EQ(written, r["text"]);
    EXPECT_EQ(heard, written);
    EXPECT_EQ(text.position(), r["position"]);
  }
}

TEST(Api, AnEmptySessionStartsADocument) {
  EXPECT_EQ(open(trained_run()).session().generate({.tokens = 20, .temp = 0}),
            natrix_json({"generate", trained_run(), "-n", "20", "--temp", "0"})["text"]);
}

TEST(Api, TokensAreTheirText) {
  const LanguageModel model = open(trained_run());
  const std::vector<int64_t> ids = model.tokenize(kPrompt);
  EXPECT_EQ(model.detokenize(ids), kPrompt);
  EXPECT_THAT(model.end_of_text(), ::testing::ElementsAre(256));
  TextSession text = model.session(), tokens = model.session();
  text.read(kPrompt);
  tokens.read_tokens(ids);
  EXPECT_EQ(model.detokenize(tokens.generate_tokens({.tokens = 30})), text.generate({.tokens = 30}));
}

TEST(Api, ACallbackEndsTheGeneration) {
  TextSession text = open(trained_run()).session();
  text.read(kPrompt);
  int pieces = 0;
  text.generate({.tokens = 40, .temp = 0}, [&](std::string_view) { return ++pieces < 3; });
  EXPECT_EQ(pieces, 3);
  EXPECT_EQ(text.position(), static_cast<int64_t>(std::strlen(kPrompt)) + 3);
}

/// Pulled piece by piece, a text is the same; one that is left early has read what it gave.
TEST(Api, AWriterGivesTheTextInPieces) {
  const LanguageModel model = open(trained_run());
  const GenerateOptions options{.tokens = 30, .temp = 0.7, .seed = 4};
  TextSession whole = model.session(), pulled = model.session(), left = model.session();
  for (TextSession* text : {&whole, &pulled, &left}) text->read(kPrompt);
  const std::string want = whole.generate(options);
  std::string got;
  TextWriter writer = pulled.writer(options);
  while (const auto piece = writer.next()) got += *piece;
  EXPECT_EQ(got, want);
  EXPECT_EQ(pulled.finish().reason, whole.finish().reason);
  EXPECT_EQ(pulled.position(), whole.position());
  {
    TextWriter early = left.writer(options);
    early.next();
  }
  EXPECT_EQ(left.position(), static_cast<int64_t>(std::strlen(kPrompt)) + 1);
  EXPECT_EQ(left.generate(options).size(), want.size());
}

TEST(Api, TextsEndAndTokensAreReportedAsInTheProgram) {
  const LanguageModel model = open(trained_run());
  const auto session = [&] {
    TextSession text = model.session();
    text.read(kPrompt);
    return text;
  };
  const auto program = [&](std::vector<std::string> flags) {
    flags.insert(flags.begin(), {"generate", trained_run(), "-p", kPrompt, "-n", "40", "--temp", "0"});
    return natrix_json(flags);
  };
  const std::string whole = program({})["text"], stop = whole.substr(17, 4);
  TextSession text = session();
  std::vector<GeneratedToken> tokens;
  const GenerateOptions options{.tokens = 40,
                                .temp = 0,
                                .stop = {stop},
                                .logit_bias = {{'q', -INFINITY}},
                                .top_logprobs = 2,
                                .token = [&](const GeneratedToken& t) { tokens.push_back(t); }};
  const nlohmann::json want = program({"--stop", stop, "--logprobs", "2", "--logit-bias", "113-inf"});
  EXPECT_EQ(text.generate(options), want["text"]);
  EXPECT_EQ(text.finish().reason, "stop");
  EXPECT_EQ(text.finish().stop_text, stop);
  ASSERT_EQ(tokens.size(), want["logprobs"].size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    const nlohmann::json& token = want["logprobs"][i];
    EXPECT_EQ(tokens[i].token, token["id"]);
    EXPECT_EQ(tokens[i].text, token["text"]);
    EXPECT_EQ(tokens[i].logprob, token["logprob"]);
    ASSERT_EQ(tokens[i].top.size(), 2u);
    EXPECT_EQ(tokens[i].top[1].token, token["top"][1]["id"]);
    EXPECT_EQ(tokens[i].top[1].logprob, token["top"][1]["logprob"]);
  }
  TextSession ids = session();
  const std::vector<int64_t> written = ids.generate_tokens({.tokens = 40, .temp = 0, .stop_ids = {whole[5]}});
  EXPECT_EQ(written.back(), whole[5]);
  EXPECT_EQ(ids.finish().stop_id, whole[5]);
  EXPECT_EQ(session().generate({.tokens = 40, .temp = 0}), whole);
  EXPECT_EQ(error_of([&] { ids.generate_tokens({.stop = {"a"}}); }).exit_status(), 2);
  EXPECT_EQ(error_of([&] { ids.generate({.logit_bias = {{257, 1.0}}}); }).exit_status(), 2);
}

TEST(Api, ScoresAsTheCommandDoes) {
  const ScratchDir scratch;
  const std::vector<int64_t> tokens = some_tokens(60);
  for (const std::string& backend : kBackends) {
    const Scores scores = open(trained_run(), {.backend = backend, .chunk = 7}).score(tokens, 2);
    const std::string out = scratch / "scores.safetensors";
    const nlohmann::json r = natrix_json({"score", trained_run(), "--tokens", tokens_file(scratch, tokens, 2),
                                          "-o", out, "--backend", backend, "--chunk", "7"});
    EXPECT_EQ(scores.predictions, 58);
    EXPECT_EQ(static_cast<float>(scores.loss), r["loss"].get<float>());
    EXPECT_TRUE(same_bits(scores.logits, Safetensors(out).at("logits"))) << backend;
  }
}

TEST(Api, GradientsAreTheCommands) {
  const ScratchDir scratch;
  const std::vector<int64_t> tokens = some_tokens(60);
  const LanguageModel model = open(trained_run(), {.chunk = 7, .trainable = true});
  const std::string out = scratch / "gradients.safetensors";
  natrix_json(
      {"gradients", trained_run(), "--tokens", tokens_file(scratch, tokens, 2), "-o", out, "--chunk", "7"});
  const Safetensors file(out);
  for (int again = 0; again < 2; ++again) {  // nothing of the first call is left
    const natrix::Gradients g = model.gradients(tokens, {.rows = 2});
    EXPECT_EQ(g.predictions, 58);
    for (const FloatTensor& t : g.parameters) {
      const View stored = file.at(t.name);
      ASSERT_EQ(std::ssize(t.values), stored.count());
      for (size_t i = 0; i < t.values.size(); ++i) ASSERT_EQ(t.values[i], stored.as<float>()[i]) << t.name;
    }
  }
}

TEST(Api, StatesAreTheCommands) {
  const ScratchDir scratch;
  TextSession text = open(trained_run()).session();
  text.read(kPrompt);
  const std::vector<float> logits = text.logits();
  EXPECT_EQ(text.logits(), logits);
  text.save(scratch / "api.state");  // the logits have been computed, and the file does not show it
  natrix_json(
      {"generate", trained_run(), "-p", kPrompt, "-n", "0", "--state-out", scratch / "program.state"});
  EXPECT_EQ(read_file(scratch / "api.state"), read_file(scratch / "program.state"));
  TextSession again = open(trained_run()).session();
  again.load(scratch / "program.state");
  EXPECT_EQ(again.logits(), logits);
  EXPECT_EQ(again.generate({.tokens = 20, .temp = 0}), text.generate({.tokens = 20, .temp = 0}));
}

TEST(Api, ForksAreIndependent) {
  TextSession text = open(trained_run()).session();
  text.read(kPrompt);
  TextSession first = text.fork(), second = text.fork();
  const std::vector<float> logits = text.logits();
  first.read("and the waters ");
  EXPECT_NE(first.logits(), logits);
  EXPECT_EQ(second.logits(), logits);
  EXPECT_EQ(text.fork().logits(), logits);
  const std::string rest = second.generate({.tokens = 20, .repeat_penalty = 1.2});
  EXPECT_EQ(text.generate({.tokens = 20, .repeat_penalty = 1.2}), rest);
  EXPECT_EQ(first.position(), text.position() - 5);
}

TEST(Api, SessionsOutliveTheirModel) {
  auto model = std::make_unique<LanguageModel>(open(trained_run()));
  auto text = std::make_unique<TextSession>(model->session());
  text->read(kPrompt);
  model.reset();
  TextSession fork = text->fork();
  text.reset();
  EXPECT_EQ(fork.generate({.tokens = 5}).size(), 5u);
}

TEST(Api, SeveralThreadsMayUseOneModel) {
  const LanguageModel model = open(trained_run());
  const auto write = [&] {
    TextSession text = model.session();
    text.read(kPrompt);
    return text.generate({.tokens = 30}, [&](std::string_view) { model.tokenize("a"); });
  };
  const std::string alone = write();
  std::vector<std::string> written(3);
  std::vector<std::thread> threads;
  for (std::string& to : written) threads.emplace_back([&to, &write] { to = write(); });
  for (std::thread& t : threads) t.join();
  EXPECT_THAT(written, ::testing::Each(alone));
}

TEST(Api, ErrorsAreTheProgramsOwn) {
  const ScratchDir scratch;
  const Error missing = error_of([&] { open(scratch / "nothing"); });
  const Outcome program =
      natrix_program({"score", scratch / "nothing", "--tokens", "a", "-o", scratch / "b"});
  EXPECT_EQ(program.err.substr(program.err.rfind("natrix: ")),
            std::string("natrix: ") + missing.what() + "\n");
  EXPECT_EQ(program.status, missing.exit_status());

  EXPECT_THAT(error_of([] { open(trained_run(), {.backend = "gpu"}); }).what(),
              HasSubstr("choose one of auto"));
  EXPECT_THAT(error_of([] { open(trained_run(), {.weights = "int4"}); }).what(), HasSubstr("int8"));
  const LanguageModel model = open(trained_run());
  const std::vector<int64_t> odd = {1, 2, 3}, unknown = {1, 257};
  EXPECT_THAT(error_of([&] { model.score(odd, 2); }).what(), HasSubstr("3 tokens are not 2 rows"));
  EXPECT_THAT(error_of([&] { model.score(unknown); }).what(), HasSubstr("tokens[0, 1] is 257"));
  EXPECT_THAT(error_of([&] { model.session().read_tokens(unknown); }).what(),
              HasSubstr("vocabulary has 257"));
  EXPECT_THAT(error_of([&] { model.session().logits(); }).what(), HasSubstr("read() first"));
  EXPECT_THAT(error_of([&] { model.gradients(odd); }).what(), HasSubstr("trainable = true"));
  EXPECT_THAT(error_of([&] { AdamWOptimizer{model}; }).what(), HasSubstr("trainable = true"));
  EXPECT_EQ(error_of([&] { model.session().generate({.top_p = 2}); }).exit_status(), 2);
}

TEST(Api, TheStateOfAnotherModelIsRefused) {
  const ScratchDir scratch;
  LanguageModel other = open(trained_run(), {.trainable = true});
  TextSession text = other.session();
  text.read(kPrompt);
  text.save(scratch / "x.state");
  FloatTensors one = {other.parameters().front()};
  one.front().values[0] += 1;
  other.set_parameters(one);
  const std::string refused = error_of([&] { other.session().load(scratch / "x.state"); }).what();
  other.save(scratch / "other");
  const Outcome program = natrix_program(
      {"generate", scratch / "other", "--state-in", scratch / "x.state", "-n", "1", "--quiet"});
  EXPECT_EQ(program.status, 2);
  EXPECT_EQ(program.err, "natrix: " + refused + "\n");
  EXPECT_NO_THROW(open(trained_run()).session().load(scratch / "x.state"));
}

/// A loss that depends on the states at the end, too: the cross-entropy plus their product with `weights`.
struct EndingLoss {
  const LanguageModel& model;
  std::vector<int64_t> tokens;
  int64_t rows;
  FloatTensors weights;

  natrix::Gradients gradients(const FloatTensors& state) const {
    return model.gradients(tokens, {.rows = rows, .state = state, .dstate = weights});
  }
  double at(const FloatTensors& state) const {
    const natrix::Gradients g = model.gradients(tokens, {.rows = rows, .state = state});
    return g.loss + dot(g.state, weights);
  }
};

TEST(Api, GradientsOfStatesAreFiniteDifferences) {
  for (const std::string& backend : kBackends) {
    const bool exact = backend == "reference";
    LanguageModel model = open(
        trained_run(), {.backend = backend, .dtype = exact ? "fp64" : "fp32", .chunk = 5, .trainable = true});
    const std::vector<int64_t> tokens = some_tokens(24);
    const FloatTensors zero = model.gradients(tokens, {.rows = 2}).state;
    const EndingLoss loss{model, tokens, 2, random_like(zero, 0.1, 1)};
    const FloatTensors state = random_like(zero, 0.3, 2);
    const natrix::Gradients g = loss.gradients(state);
    const double step = exact ? 5e-3 : 2e-2, tolerance = exact ? 1e-4 : 1e-2;
    for (size_t i = 0; i < state.size(); ++i) {  // along the gradient of one state after the other
      FloatTensors along = random_like(zero, 0, 1);
      along[i] = g.dstate[i];
      const double slope = dot(g.dstate, along), h = step / std::sqrt(slope);
      ASSERT_GT(slope, 0) << state[i].name;
      const double found = (loss.at(moved(state, h, along)) - loss.at(moved(state, -h, along))) / (2 * h);
      EXPECT_NEAR(found / slope, 1, tolerance) << backend << " " << state[i].name;
    }
    const FloatTensors before = model.parameters();
    const double slope = dot(g.parameters, g.parameters), h = step / 4 / std::sqrt(slope);
    model.set_parameters(moved(before, h, g.parameters));
    double found = loss.at(state);
    model.set_parameters(moved(before, -h, g.parameters));
    found = (found - loss.at(state)) / (2 * h);
    EXPECT_NEAR(found / slope, 1, exact ? 1e-3 : 2e-2) << backend;
  }
}

TEST(Api, HalvesChainedByHandAreTheWhole) {
  constexpr size_t kRows = 2, kLength = 24, kHalf = 11;
  const std::vector<int64_t> tokens = some_tokens(kRows * kLength);
  std::vector<int64_t> part[2], targets[2];
  for (size_t b = 0; b < kRows; ++b) {
    for (size_t t = 0; t < kLength; ++t) {
      part[t >= kHalf].push_back(tokens[b * kLength + t]);
      targets[t >= kHalf].push_back(t + 1 < kLength ? tokens[b * kLength + t + 1] : -1);
    }
  }
  for (const std::string& backend : kBackends) {
    const LanguageModel model = open(trained_run(), {.backend = backend, .chunk = 4, .trainable = true});
    const FloatTensors start = random_like(model.gradients(tokens, {.rows = kRows}).state, 0.3, 3);
    const FloatTensors dend = random_like(start, 0.01, 4);
    const natrix::Gradients whole = model.gradients(tokens, {.rows = kRows, .state = start, .dstate = dend});
    const double divisor = static_cast<double>(whole.predictions);
    const auto half = [&](int i, const FloatTensors& state, const FloatTensors& dstate) {
      return model.gradients(
          part[i],
          {.rows = kRows, .targets = targets[i], .divisor = divisor, .state = state, .dstate = dstate});
    };
    const FloatTensors middle = half(0, start, {}).state;
    const natrix::Gradients second = half(1, middle, dend), first = half(0, start, second.dstate);
    FloatTensors sum = second.parameters;
    accumulate(sum, first.parameters);
    constexpr double kTolerance = 1e-6;
    EXPECT_NEAR(first.loss + second.loss, whole.loss, kTolerance * whole.loss) << backend;
    EXPECT_LT(difference(whole.parameters, sum), kTolerance) << backend;
    EXPECT_LT(difference(whole.dstate, first.dstate), kTolerance) << backend;
    EXPECT_LT(difference(whole.state, second.state), kTolerance) << backend;
    // The gradient that crosses the boundary matters.
    EXPECT_GT(difference(whole.dstate, half(0, start, {}).dstate), 1e-3) << backend;
  }
}

TEST(Api, ATrainingLoopLearnsAndIsSaved) {
  const ScratchDir scratch;
  LanguageModel model = open(trained_run(), {.trainable = true});
  AdamWOptimizer optimizer(model);
  const std::vector<int64_t> tokens = some_tokens(40);
  const double before = model.score(tokens).loss;
  for (int i = 0; i < 5; ++i) EXPECT_GT(optimizer.step(model.gradients(tokens).parameters, 1e-3), 0);
  const double after = model.score(tokens).loss;
  EXPECT_LT(after, before);
  model.save(scratch / "trained");
  EXPECT_EQ(open(scratch / "trained").score(tokens).loss, after);
  EXPECT_EQ(natrix_json({"generate", scratch / "trained", "-p", "a", "-n", "5"})["generated"], 5);

  FloatTensors some = model.gradients(tokens).parameters;
  some.pop_back();
  EXPECT_THAT(error_of([&] { optimizer.step(some, 1e-3); }).what(), HasSubstr("is missing"));
  EXPECT_EQ(model.score(tokens).loss, after);
}

TEST(Api, TheDocumentShowsTheExamples) {
  const std::string root = NATRIX_SOURCE_DIR, document = read_file(root + "/docs/cpp.md");
  for (const char* name : {"generate", "long_file", "train_chunks"}) {
    const std::string example = read_file(root + "/examples/" + name + ".cpp");
    EXPECT_THAT(document, HasSubstr("```cpp\n" + example + "```\n")) << name;
    EXPECT_LE(std::ranges::count(example, '\n'), 30) << name;
  }
}

TEST(Api, TheHeaderNeedsTheStandardLibraryOnly) {
  const std::string header = read_file(std::string(NATRIX_SOURCE_DIR) + "/include/natrix/natrix.h");
  for (size_t at = header.find("#include"); (at = header.find("\n#include", at)) != std::string::npos; ++at) {
    EXPECT_EQ(header.compare(at, 11, "\n#include <"), 0);
    EXPECT_EQ(header.substr(at, header.find('>', at) - at).find_first_of("/."), std::string::npos);
  }
}

}  // namespace
}  // namespace natrix::test
