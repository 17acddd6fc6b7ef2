// What config.json says of the head against what the files hold: every combination, as transformers 5 reads
// it.
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/hf/hf_checkpoint.h"
#include "core/hf/hf_formats.h"
#include "kernels/base/buffer.h"
#include "tests/core/io_helpers.h"

namespace natrix {
namespace {

using nlohmann::json;
using test::mentions;
using test::message_of;
using test::ScratchDir;

constexpr int64_t kVocabulary = 10, kWidth = 4;

enum class TiedClass { kMamba, kJamba };
enum class Says { kTied, kNothing, kUntied };
enum class Head { kAbsent, kEqual, kDifferent, kAlone, kNeither };

ModelConfig tiny_config(TiedClass family) {
  ModelConfig c;
  c.pattern = family == TiedClass::kJamba ? "ME" : "M";
  c.mamba.inner_norms = family == TiedClass::kJamba;
  c.d_model = kWidth;
  c.vocab_size = kVocabulary;
  return c;
}

/// A vocabulary's vectors, made from one number.
Buffer vectors(float first, Dtype dtype = Dtype::kF32) {
  Buffer b(dtype, {kVocabulary, kWidth});
  for (int64_t i = 0; i < b.view().count(); ++i) {
    const float value = first + static_cast<float>(i);
    if (dtype == Dtype::kF64) {
      b.view().as<double>()[i] = value;
    } else if (dtype == Dtype::kBF16) {
      b.view().as<BFloat16>()[i] = BFloat16(value);
    } else {
      b.view().as<float>()[i] = value;
    }
  }
  return b;
}

/// The model's two parameters at the ends of the stack, as a model declares them.
struct Ends {
  explicit Ends(const ModelConfig& config) {
    const HfNames names = hf_names(config);
    add(names.embedding);
    if (!config.tie_embeddings) add(names.head);
  }
  void add(const std::string& name) {
    Param p;
    p.name = name;
    p.shape = {kVocabulary, kWidth};
    p.parts = {{name, p.shape, 0}};
    p.value = values.emplace_back(Dtype::kF32, p.shape).view();
    params.push_back(p);
  }
  std::vector<Param*> list() {
    std::vector<Param*> all;
    for (Param& p : params) all.push_back(&p);
    return all;
  }
  float first(size_t i) const { return params[i].value.as<float>()[0]; }

  std::vector<Param> params;
  std::vector<Buffer> values;
};

void write_config(const std::string& dir, const ModelConfig& config, Says says) {
  json j = json::parse(hf_config_json(config, {}));
  j["tie_word_embeddings"] = says == Says::kTied;
  if (says == Says::kNothing) j.erase("tie_word_embeddings");
  test::write_file(dir + "/config.json", j.dump());
}

struct Reading {
  ModelConfig config;
  std::vector<std::string> warnings;
};

Reading read(const std::string& dir) {
  Reading r;
  r.config = read_model_config(dir, [&](const std::string& what) { r.warnings.push_back(what); });
  return r;
}

class TiedHead : public ::testing::TestWithParam<std::tuple<TiedClass, Says, Head, bool>> {};

TEST_P(TiedHead, IsReadAsTransformersReadsIt) {
  const auto [family, says, head, sharded] = GetParam();
  const ScratchDir dir;
  const ModelConfig config = tiny_config(family);
  const HfNames names = hf_names(config);
  write_config(dir.path(), config, says);
  const Buffer embedding = vectors(1), other = vectors(100);
  std::vector<NamedTensor> tensors;
  if (head != Head::kAlone && head != Head::kNeither) tensors.push_back({names.embedding, embedding.view()});
  if (head == Head::kEqual) tensors.push_back({names.head, embedding.view()});
  if (head == Head::kDifferent || head == Head::kAlone) tensors.push_back({names.head, other.view()});
  write_tensors(dir.path(), "model", tensors, sharded ? 1 : kMaxShardBytes);

  const bool asked = says == Says::kTied || (says == Says::kNothing && family == TiedClass::kMamba);
  const Reading r = read(dir.path());
  EXPECT_EQ(r.config.tie_embeddings, asked && head != Head::kDifferent);
  ASSERT_EQ(r.warnings.size(), asked && head == Head::kDifferent ? 1u : 0u);
  for (const std::string& w : r.warnings) {
    for (const std::string& part : {dir / "config.json", names.head, names.embedding, dir / "model"})
      EXPECT_TRUE(mentions(w, part));
    EXPECT_EQ(w.find('\n'), std::string::npos);
  }

  Ends ends(r.config);
  const bool lacks_head = !asked && (head == Head::kAbsent || head == Head::kNeither);
  const bool lacks_embedding = head == Head::kNeither || (!asked && head == Head::kAlone);
  if (lacks_head || lacks_embedding) {
    const std::string message =
        message_of<InputError>([&] { load_weights(dir.path(), r.config, ends.list()); });
    EXPECT_EQ(message, message_of<InputError>([&] { check_weights(dir.path(), r.config, ends.list()); }));
    EXPECT_TRUE(mentions(message, lacks_head && lacks_embedding ? "2 missing" : "1 missing"));
    EXPECT_TRUE(mentions(message, names.head));
    EXPECT_EQ(message.find(names.embedding) != std::string::npos, lacks_embedding) << message;
    return;
  }
  check_weights(dir.path(), r.config, ends.list());
  load_weights(dir.path(), r.config, ends.list());
  EXPECT_EQ(ends.first(0), head == Head::kAlone ? 100 : 1);
  EXPECT_EQ(ends.params.size(), r.config.tie_embeddings ? 1u : 2u);
  EXPECT_EQ(ends.params.back().value.as<float>()[0],
            head == Head::kDifferent || head == Head::kAlone ? 100 : 1);

  // What is saved says what was loaded.
  const ScratchDir saved;
  save_weights(saved.path(), ends.list(), {.config = hf_config_json(r.config, {})});
  const Reading again = read(saved.path());
  EXPECT_EQ(again.config.tie_embeddings, r.config.tie_embeddings);
  EXPECT_TRUE(again.warnings.empty());
  Ends reloaded(again.config);
  load_weights(saved.path(), again.config, reloaded.list());
  EXPECT_EQ(hash_weights(reloaded.list()), hash_weights(ends.list()));
}

INSTANTIATE_TEST_SUITE_P(Every, TiedHead,
                         ::testing::Combine(::testing::Values(TiedClass::kMamba, TiedClass::kJamba),
                                            ::testing::Values(Says::kTied, Says::kNothing, Says::kUntied),
                                            ::testing::Values(Head::kAbsent, Head::kEqual, Head::kDifferent,
                                                              Head::kAlone, Head::kNeither),
                                            ::testing::Bool()));

/// Whether a tied config.json stays so beside these two tensors.
bool stays_tied(View embedding, View head) {
  const ScratchDir dir;
  const ModelConfig config = tiny_config(TiedClass::kMamba);
  write_config(dir.path(), config, Says::kTied);
  const HfNames names = hf_names(config);
  write_safetensors(dir / "model.safetensors", {{names.embedding, embedding}, {names.head, head}});
  return read(dir.path()).config.tie_embeddings;
}

TEST(TiedHeadValues, AreComparedAsNumbers) {
  for (const Dtype a : {Dtype::kF32, Dtype::kF64, Dtype::kBF16}) {
    for (const Dtype b : {Dtype::kF32, Dtype::kF64, Dtype::kBF16}) {
      EXPECT_TRUE(stays_tied(vectors(1, a).view(), vectors(1, b).view())) << name_of(a) << " " << name_of(b);
      EXPECT_FALSE(stays_tied(vectors(1, a).view(), vectors(2, b).view())) << name_of(a) << " " << name_of(b);
    }
  }
  const Buffer plain = vectors(1), rounded = vectors(1, Dtype::kBF16);
  Buffer last = vectors(1);
  last.view().as<float>()[kVocabulary * kWidth - 1] = std::nextafter(last.view().as<float>()[39], 1e9f);
  EXPECT_FALSE(stays_tied(plain.view(), last.view())) << "the last bit of the last value";
  EXPECT_FALSE(stays_tied(last.view(), rounded.view())) << "the embedding in bf16 is not the embedding";
  Buffer zero = vectors(0), minus = vectors(0);
  minus.view().as<float>()[0] = -0.0f;
  EXPECT_TRUE(stays_tied(zero.view(), minus.view()));
  Buffer nan = vectors(1);
  nan.view().as<float>()[3] = NAN;
  EXPECT_TRUE(stays_tied(nan.view(), nan.view()));
  EXPECT_FALSE(stays_tied(plain.view(), nan.view()));
}

// More values than are compared at once, with a difference behind them.
TEST(TiedHeadValues, AreComparedToTheEnd) {
  const Shape shape{3, 5000};
  const Buffer a(Dtype::kF32, shape), b(Dtype::kF32, shape), c(Dtype::kF64, shape);
  EXPECT_TRUE(stays_tied(a.view(), b.view()));
  EXPECT_TRUE(stays_tied(a.view(), c.view()));
  b.view().as<float>()[14'999] = 1;
  c.view().as<double>()[14'999] = 1;
  EXPECT_FALSE(stays_tied(a.view(), b.view()));
  EXPECT_FALSE(stays_tied(a.view(), c.view()));
}

// Of another shape or of whole numbers the second tensor is no head: loading refuses it by name.
TEST(TiedHeadValues, WhatCannotBeAHeadIsRefused) {
  for (const auto& [dtype, shape] : {std::pair{Dtype::kF32, Shape{kVocabulary + 1, kWidth}},
                                     {Dtype::kF32, {kWidth, kVocabulary}},
                                     {Dtype::kI32, {kVocabulary, kWidth}}}) {
    const ScratchDir dir;
    const ModelConfig config = tiny_config(TiedClass::kJamba);
    write_config(dir.path(), config, Says::kTied);
    const HfNames names = hf_names(config);
    const Buffer embedding = vectors(1), head(dtype, shape);
    write_safetensors(dir / "model.safetensors",
                      {{names.embedding, embedding.view()}, {names.head, head.view()}});
    const Reading r = read(dir.path());
    EXPECT_TRUE(r.warnings.empty());
    Ends ends(r.config);
    EXPECT_TRUE(mentions(message_of<InputError>([&] { load_weights(dir.path(), r.config, ends.list()); }),
                         "1 unexpected: \"lm_head.weight\" " + head.view().to_string()));
  }
}

TEST(TiedHeadValues, ADirectoryMayLackItsWeights) {
  const ScratchDir dir;
  write_config(dir.path(), tiny_config(TiedClass::kMamba), Says::kTied);
  EXPECT_TRUE(read(dir.path()).config.tie_embeddings);
}

}  // namespace
}  // namespace natrix
