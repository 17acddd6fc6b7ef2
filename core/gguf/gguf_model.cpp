#include "core/gguf/gguf_model.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <vector>

#include "core/files/json.h"
#include "core/gguf/gguf_config.h"
#include "core/gguf/quantized_blocks.h"
#include "core/gguf/source_values.h"
#include "core/gguf/tensor_names.h"
#include "core/hf/families.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

/// Nothing for a type that has to be expanded.
std::optional<Dtype> plain_dtype(GgufType type) {
  switch (type) {
    case GgufType::kF32: return Dtype::kF32;
    case GgufType::kF16: return Dtype::kF16;
    case GgufType::kBF16: return Dtype::kBF16;
    default: return std::nullopt;
  }
}

Shape shape_in_hf_order(const GgufTensor& tensor, const TensorRule& rule) {
  std::vector<int64_t> extents(tensor.extents.rbegin(), tensor.extents.rend());
  // Writers may leave out trailing extents of 1.
  while (rule.form == TensorRule::Form::kExperts && extents.size() < 3) extents.insert(extents.begin(), 1);
  Shape shape;
  for (const int64_t extent : extents) shape.push_back(extent);
  return shape;
}

/// The tensors of a GGUF file under their names in Hugging Face.
class GgufTensors : public TensorSource {
 public:
  GgufTensors(std::shared_ptr<const GgufFile> file, const GgufConfig& config)
      : file_(std::move(file)),
        names_(*config.architecture, config.model),
        experts_(config.model.moe.num_experts),
        layers_(layer_count(config.model)) {
    for (const auto& [name, tensor] : file_->tensors()) add(name, tensor, *config.architecture);
    for (const auto& [name, pieces] : pieces_) check_complete(name, pieces);
    for (auto& [name, entry] : entries_) entry.dtype = dtype_of(pieces_.at(name));
    dtypes_ = hf_dtypes(*file_, *this);
  }

  const std::map<std::string, Entry>& entries() const override { return entries_; }

  View read(const std::string& name, Buffer& space) const override {
    const std::vector<Piece>& pieces = pieces_.at(name);
    const Shape& shape = entry(name).shape;
    if (const auto plain = plain_view(pieces, shape)) return *plain;
    space = Buffer(Dtype::kF32, shape);
    float* values = space.view().as<float>();
    for (const Piece& piece : pieces) expand(piece, values + piece.run.hf);
    const Piece& first = pieces.front();
    if (!first.rule->keeps_values()) restore(name, first, shape, values);
    return space.view();
  }

 private:
  struct Piece {
    const std::string* gguf_name = nullptr;
    const GgufTensor* tensor = nullptr;
    const TensorRule* rule = nullptr;
    TensorRun run;
  };

  /// Blocks of the file: a layer of Hugging Face, which is one norm or two of the stack.
  static int64_t layer_count(const ModelConfig& c) {
    const auto sublayers = static_cast<int64_t>(c.sublayers().size());
    return hf_names(c).norm(1).find(".1.") != std::string::npos ? sublayers : sublayers / 2;
  }

  void add(const std::string& name, const GgufTensor& tensor, const GgufArchitecture& architecture) {
    if (name == "rope_freqs.weight" || is_further_layer(name, architecture)) return;
    const auto match = names_.of_gguf(name);
    if (!match) {
      throw InputError(fmt::format("{}: tensor {} is none of the architecture {}", file_->origin(),
                                   excerpt(name), architecture.name));
    }
    if (match->rule->derived) return;
    try {
      add_matched(name, tensor, *match);
    } catch (const InputError& e) {
      throw InputError(fmt::format("{}: tensor {} {}", file_->origin(), excerpt(name), e.what()));
    }
  }

  /// A layer that predicts further tokens, which natrix does not have. They come last.
  bool is_further_layer(const std::string& name, const GgufArchitecture& architecture) const {
    if (!file_->has(std::string(architecture.name) + ".nextn_predict_layers") || !name.starts_with("blk."))
      return false;
    return std::atoll(name.c_str() + 4) >= layers_;
  }

  void add_matched(const std::string& name, const GgufTensor& tensor, TensorNames::Match match) {
    const TensorRule& rule = *match.rule;
    const Shape stored = shape_in_hf_order(tensor, rule), shape = hf_shape(rule, stored);
    const bool each = rule.form == TensorRule::Form::kExperts;
    if (each && stored[0] != experts_) {
      throw InputError(fmt::format("is {}; the model has {} experts", tensor.to_string(), experts_));
    }
    for (match.expert = 0; match.expert < (each ? experts_ : 1); ++match.expert) {
      const std::string hf = names_.hf_name(match);
      const auto [at, is_new] = entries_.try_emplace(hf, Entry{Dtype::kF32, shape, &file_->origin()});
      if (at->second.shape != shape)
        throw InputError(fmt::format("is {}, which does not fit its other half", tensor.to_string()));
      for (const TensorRun& run : runs_of(rule, shape, match.expert))
        pieces_[hf].push_back({&name, &tensor, &rule, run});
    }
  }

  void check_complete(const std::string& name, const std::vector<Piece>& pieces) const {
    int64_t count = 0;
    for (const Piece& p : pieces) count += p.run.count;
    if (count != entry(name).shape.count()) {
      throw InputError(fmt::format("{}: tensor {} has no counterpart for the other half of its rows",
                                   file_->origin(), excerpt(*pieces.front().gguf_name)));
    }
  }

  static Dtype dtype_of(const std::vector<Piece>& pieces) {
    const bool as_it_is = pieces.size() == 1 && pieces[0].rule->keeps_values();
    return as_it_is ? plain_dtype(pieces[0].tensor->type).value_or(Dtype::kF32) : Dtype::kF32;
  }

  static const char* bytes_at(const Piece& piece) {
    const GgufTypeTraits& traits = traits_of(piece.tensor->type);
    return piece.tensor->bytes.data() + piece.run.gguf / traits.block * traits.block_bytes;
  }

  static std::optional<View> plain_view(const std::vector<Piece>& pieces, const Shape& shape) {
    if (pieces.size() != 1 || !pieces[0].rule->keeps_values()) return std::nullopt;
    const auto dtype = plain_dtype(pieces[0].tensor->type);
    if (!dtype) return std::nullopt;
    return View(const_cast<char*>(bytes_at(pieces[0])), *dtype, shape);  // readers only read
  }

  static void expand(const Piece& piece, float* to) {
    expand_blocks(piece.tensor->type, bytes_at(piece), piece.run.count, to);
  }

  void restore(const std::string& name, const Piece& piece, const Shape& shape, float* values) const {
    const TensorRule& rule = *piece.rule;
    std::vector<float> stored;
    if (rule.rounds()) stored.assign(values, values + shape.count());
    to_hf_values(rule, shape, values);
    if (!rule.rounds()) return;
    const bool decay = rule.form == TensorRule::Form::kDecay || rule.form == TensorRule::Form::kDecayColumn;
    if (decay && std::any_of(values, values + shape.count(), [](float v) { return std::isnan(v); })) {
      throw InputError(
          fmt::format("{}: tensor {} holds values above zero, or that are not numbers; expected "
                      "-exp(A_log)",
                      file_->origin(), excerpt(*piece.gguf_name)));
    }
    apply_correction(*file_, name, rule, dtypes_.at(name), shape, piece.tensor->type, stored.data(), values);
  }

  std::shared_ptr<const GgufFile> file_;
  TensorNames names_;
  int64_t experts_ = 0, layers_ = 0;
  std::map<std::string, Entry> entries_;
  std::map<std::string, std::vector<Piece>> pieces_;
  std::map<std::string, Dtype> dtypes_;
};

}  // namespace

Dtype float_dtype(const GgufFile& file, std::string_view name) {
  for (const Dtype dtype : {Dtype::kF32, Dtype::kBF16, Dtype::kF16}) {
    if (name == name_of(dtype)) return dtype;
  }
  file.fail(kDtypeKey, R"("f32", "bf16" or "f16")");
}

std::map<std::string, Dtype> hf_dtypes(const GgufFile& file, const TensorSource& tensors) {
  std::map<std::string, Dtype> dtypes;
  const bool known = file.has(kDtypeKey);
  const Dtype most = known ? float_dtype(file, file.text(kDtypeKey)) : Dtype::kF32;
  for (const auto& [name, entry] : tensors.entries()) dtypes[name] = known ? most : entry.dtype;
  for (const Dtype dtype : {Dtype::kF32, Dtype::kBF16, Dtype::kF16}) {
    const std::string key = fmt::format("{}.{}", kDtypeKey, name_of(dtype));
    if (!known || !file.has(key)) continue;
    for (const std::string_view name : file.texts(key)) {
      if (const auto found = dtypes.find(std::string(name)); found != dtypes.end()) found->second = dtype;
    }
  }
  return dtypes;
}

ModelSource open_gguf(const std::shared_ptr<const GgufFile>& file) {
  const GgufConfig config = read_gguf_config(*file);
  ModelSource source;
  source.path = file->origin();
  source.config = config.text;
  source.config_origin = file->origin();
  source.tensors = std::make_unique<GgufTensors>(file, config);
  return source;
}

ModelSource open_gguf(const std::string& path) {
  return open_gguf(std::make_shared<const GgufFile>(path));
}

}  // namespace natrix
