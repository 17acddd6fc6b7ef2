#include <algorithm>
#include <filesystem>
#include <fmt/format.h>

#include "core/hf/hf_checkpoint.h"
#include "core/hf/hf_formats.h"
#include "core/io/checkpoint_dir.h"
#include "kernels/base/transfer.h"
#include "launch/api/model_files.h"
#include "launch/api/public/guarded.h"
#include "launch/api/public/model_impl.h"
#include "launch/api/score.h"
#include "launch/api/text.h"
#include "launch/api/token_gradients.h"
#include "launch/api/token_rows.h"
#include "launch/warning.h"

namespace natrix {
namespace {

constexpr int kMostThreads = 4096;

}  // namespace

LanguageModel::Impl::Impl(const std::string& path, const OpenOptions& options)
    : machine{.backend = options.backend,
              .dtype = options.dtype,
              .weights = options.weights,
              .threads = options.threads},
      dir(resolve_model_dir(path)),
      tokenizer_spec(options.tokenizer),
      chunk(options.chunk),
      trainable(options.trainable),
      config(read_checkpoint_model(dir, options.warn ? options.warn : print_warning)),
      ctx(machine.backend_kind(), std::clamp(options.threads, 0, kMostThreads)) {
  if (options.threads < 0 || options.threads > kMostThreads)
    throw InputError(fmt::format("threads is {}; it is between 0 and {}", options.threads, kMostThreads));
  if (chunk < 1) throw InputError(fmt::format("chunk is {}; it is at least 1", chunk));
  if (trainable && machine.weight_format() != WeightFormat::kF32) {
    throw InputError(fmt::format("weights {}: a trainable model keeps them in f32", machine.weights));
  }
  backend_name = name_of(ctx.backend());
  model = load_model(dir, cross_entropy_only(config), machine.element(), trainable, ctx.memory());
  tokenizer = text_tokenizer_if_any(tokenizer_spec, dir, vocabulary());
  ends = end_of_text_ids(dir, tokenizer.get(), vocabulary());
  if (trainable) return;
  hash_when_opened = hash_weights(model->params());
  pack_for_reading(*model, ctx, machine);
}

const Tokenizer& LanguageModel::Impl::text() const {
  if (!tokenizer)
    text_tokenizer(tokenizer_spec, dir, vocabulary());  // throws an error that says why there is none
  require(tokenizer != nullptr, "a model without a tokenizer was asked for its text");
  return *tokenizer;
}

std::string LanguageModel::Impl::hash() const {
  return trainable ? hash_weights(model.model->params()) : hash_when_opened;
}

void LanguageModel::Impl::require_trainable(const char* what) const {
  if (!trainable)
    throw InputError(
        fmt::format("{}: {} was opened to be read only; open it with trainable = true", what, dir));
}

Buffer LanguageModel::Impl::token_rows(std::span<const int64_t> tokens, int64_t rows) const {
  const auto count = static_cast<int64_t>(tokens.size());
  if (rows < 1 || count == 0 || count % rows != 0) {
    throw InputError(
        fmt::format("{} tokens are not {} rows of equal length with at least one token", count, rows));
  }
  Buffer all(Dtype::kI64, {rows, count / rows});
  std::ranges::copy(tokens, all.view().as<int64_t>());
  check_tokens(all.view(), vocabulary(), "tokens");
  return all;
}

void fill_parts(Model& model, View Param::*which, const FloatTensors& from, bool all) {
  std::vector<Param*> params = model.params();
  std::erase_if(params, [&](const Param* p) { return !(p->*which); });
  std::map<std::string_view, const FloatTensor*> given;
  for (const FloatTensor& t : from) given[t.name] = &t;
  std::vector<std::pair<View, const FloatTensor*>> copies;
  for (const NamedTensor& part : named_parts(params, which)) {
    const auto found = given.find(part.name);
    if (found == given.end()) {
      if (all)
        throw InputError(fmt::format("tensor {} is missing; all of the model's are needed", part.name));
      continue;
    }
    const FloatTensor& t = *found->second;
    Shape shape;
    for (int64_t extent : t.shape) shape.push_back(extent);
    if (!(shape == part.view.shape) || static_cast<int64_t>(t.values.size()) != shape.count()) {
      throw InputError(fmt::format("tensor {} is {} with {} values; the model's is {}", t.name,
                                   shape.to_string(), t.values.size(), part.view.shape.to_string()));
    }
    copies.emplace_back(part.view, &t);
    given.erase(found);
  }
  if (!given.empty()) throw InputError(fmt::format("tensor {} is none of the model's", given.begin()->first));
  for (const auto& [view, tensor] : copies) {
    const View values(const_cast<float*>(tensor->values.data()), Dtype::kF32, view.shape);
    write_from_host(view, [&](View to) { convert(values, to); });
  }
}

FloatTensors parts_of(Model& model, View Param::*which) {
  FloatTensors tensors;
  for (const NamedTensor& t : f32_parts(model, which).named) {
    FloatTensor& out = tensors.emplace_back();
    out.name = t.name;
    for (int i = 0; i < t.view.shape.rank(); ++i) out.shape.push_back(t.view.shape[i]);
    out.values.assign(t.view.as<float>(), t.view.as<float>() + t.view.count());
  }
  return tensors;
}

LanguageModel::LanguageModel(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

LanguageModel open(const std::string& path, const OpenOptions& options) {
  return guarded([&] { return LanguageModel(std::make_shared<LanguageModel::Impl>(path, options)); });
}

int64_t LanguageModel::vocab_size() const {
  return impl_->vocabulary();
}

const std::string& LanguageModel::backend() const {
  return impl_->backend_name;
}

const std::string& LanguageModel::directory() const {
  return impl_->dir;
}

std::vector<int64_t> LanguageModel::tokenize(std::string_view text) const {
  return guarded([&] { return impl_->text().encode(text); });
}

std::string LanguageModel::detokenize(std::span<const int64_t> tokens) const {
  return guarded([&] { return impl_->text().decode(tokens); });
}

const std::vector<int64_t>& LanguageModel::end_of_text() const {
  return impl_->ends;
}

Scores LanguageModel::score(std::span<const int64_t> tokens, int64_t rows) const {
  return guarded([&] {
    const std::lock_guard lock(impl_->mutex);
    const Buffer all = impl_->token_rows(tokens, rows);
    const int64_t length = all.view().cols(), V = impl_->vocabulary();
    Scores scores;
    scores.logits.resize(static_cast<size_t>(checked_bytes(Dtype::kF32, {rows, length, V})) / sizeof(float));
    const ScoreFigures figures = score_tokens(
        *impl_->model, impl_->ctx, all.view(), impl_->chunk, "",
        [&](int64_t row, int64_t first, View logits) {
          std::copy_n(logits.as<float>(), logits.count(), scores.logits.data() + (row * length + first) * V);
        });
    scores.loss = figures.mean();
    scores.predictions = figures.predictions;
    return scores;
  });
}

FloatTensors LanguageModel::parameters() const {
  return guarded([&] {
    const std::lock_guard lock(impl_->mutex);
    impl_->require_trainable("parameters");
    return parts_of(*impl_->model, &Param::value);
  });
}

void LanguageModel::set_parameters(const FloatTensors& values) {
  guarded([&] {
    const std::lock_guard lock(impl_->mutex);
    impl_->require_trainable("set_parameters");
    fill_parts(*impl_->model, &Param::value, values, false);
    impl_->model->visit([](Param& p) { refresh_rounded(p); });
  });
}

void LanguageModel::save(const std::string& directory) const {
  guarded([&] {
    const std::lock_guard lock(impl_->mutex);
    impl_->require_trainable("save");
    std::error_code error;
    std::filesystem::create_directories(directory, error);
    if (error) throw RunError(fmt::format("{}: cannot be created: {}", directory, error.message()));
    const std::string inherited = model_config_text(impl_->dir);
    save_weights(directory, impl_->model->params(),
                 {.config = hf_config_json(impl_->config, {}, inherited),
                  .tokenizer = model_tokenizer_files(impl_->dir)});
  });
}

}  // namespace natrix
