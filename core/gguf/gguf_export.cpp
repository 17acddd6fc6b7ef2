#include "core/gguf/gguf_export.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/files/json.h"
#include "core/files/safetensors.h"
#include "core/gguf/gguf_model.h"
#include "core/gguf/gguf_tokenizer.h"
#include "core/gguf/gguf_writer.h"
#include "core/gguf/quantized_blocks.h"
#include "core/gguf/source_values.h"
#include "core/gguf/tensor_names.h"
#include "core/hf/hf_checkpoint.h"
#include "core/hf/hf_formats.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

constexpr int64_t kUnknownContext = 1 << 20;

/// A range of one GGUF tensor and where its values come from.
struct Piece {
  std::string hf;
  const TensorRule* rule = nullptr;
  TensorRun run;
};

struct Target {
  GgufEntry entry;
  std::vector<Piece> pieces;  // in the order of the GGUF tensor's elements
  std::vector<float> values;  // of a tensor without pieces
};

std::vector<int64_t> gguf_extents(const Shape& shape) {
  std::vector<int64_t> extents;
  for (int i = shape.rank(); i-- > 0;) extents.push_back(shape[i]);
  return extents;
}

bool fits(GgufType type, const GgufEntry& e) {
  return e.extents[0] % traits_of(type).block == 0;
}

GgufType type_for(const GgufEntry& e, GgufType wanted) {
  const std::string& name = e.name;
  const bool matrix = e.extents.size() > 1 && name.ends_with(".weight") && !name.ends_with("_norm.weight");
  const bool exact = name.ends_with(".ssm_conv1d.weight") || name.ends_with(".ffn_gate_inp.weight");
  if (!matrix || exact) return GgufType::kF32;
  const bool end = name == "token_embd.weight" || name == "output.weight";
  if (wanted == GgufType::kQ4_K && (end || !fits(wanted, e))) wanted = GgufType::kQ8_0;
  return fits(wanted, e) ? wanted : GgufType::kF16;
}

int64_t file_type(GgufType type) {  // llama.cpp's numbers
  switch (type) {
    case GgufType::kF32: return 0;
    case GgufType::kF16: return 1;
    case GgufType::kQ8_0: return 7;
    case GgufType::kQ4_K: return 14;
    case GgufType::kBF16: return 32;
    default: break;
  }
  require(false, "a type that is not written");
  return 0;
}

Dtype most_frequent_dtype(const std::map<std::string, Dtype>& dtypes) {
  std::map<Dtype, int64_t> counts;
  for (const auto& [name, dtype] : dtypes) ++counts[dtype];
  return std::ranges::max_element(counts, {}, [](const auto& c) { return c.second; })->first;
}

class Exporter {
 public:
  Exporter(const ModelSource& model, const GgufExport& how,
           const std::function<void(const std::string&)>& warn)
      : model_(model),
        how_(how),
        warn_(warn),
        config_(read_model_config(model, warn)),
        architecture_(gguf_architecture_of(config_)),
        names_(architecture_, config_) {
    if (!model.tensors) check_weights(model, config_, {});  // says so
    for (const auto& [name, entry] : model.tensors->entries()) add(name, entry);
    add_extra();
    for (auto& [name, target] : targets_) finish(target);
    type_ = how.type.value_or(type_of(most_frequent_dtype(dtypes_)));
    for (auto& [name, target] : targets_)
      target.entry.type = target.pieces.empty() ? GgufType::kF32 : type_for(target.entry, type_);
  }

  void write(const std::string& path) {
    if (const std::string why = architecture_.beyond_llama_cpp(config_); !why.empty())
      warn_(fmt::format("{}: natrix can read this file, but {}", path, why));
    const GgufMetadata metadata = describe();
    std::vector<GgufEntry> layout;
    for (const auto& [name, target] : targets_) layout.push_back(target.entry);
    GgufWriter writer(path, metadata, layout);
    for (const auto& [name, target] : targets_) write_tensor(target, writer);
    writer.commit();
  }

 private:
  static GgufType type_of(Dtype dtype) {
    return dtype == Dtype::kBF16 ? GgufType::kBF16 : dtype == Dtype::kF16 ? GgufType::kF16 : GgufType::kF32;
  }

  void add(const std::string& name, const TensorSource::Entry& entry) {
    const HfFamily& family = hf_family(config_);
    if (family.ignores != nullptr && family.ignores(name)) return;
    const std::vector<TensorNames::Match> matches = names_.of_hf(name);
    if (matches.empty()) {
      if (config_.tie_embeddings && name == hf_names(config_).head) return;  // the embedding once more
      throw InputError(fmt::format("{}: tensor {} has no place in a GGUF file of the architecture {}",
                                   *entry.file, excerpt(name), architecture_.name));
    }
    dtypes_[name] = entry.dtype == Dtype::kF64 ? Dtype::kF32 : entry.dtype;
    for (const TensorNames::Match& match : matches) {
      const std::string gguf = names_.gguf_name(match);
      try {
        add_pieces(gguf, name, entry.shape, match);
      } catch (const InputError& e) {
        throw InputError(fmt::format("{}: tensor {} {}", *entry.file, excerpt(name), e.what()));
      }
    }
  }

  void add_pieces(const std::string& gguf, const std::string& hf, const Shape& shape,
                  const TensorNames::Match& match) {
    Target& target = targets_[gguf];
    const std::vector<int64_t> extents =
        gguf_extents(gguf_shape(*match.rule, shape, config_.moe.num_experts));
    if (target.pieces.empty()) target.entry = {.name = gguf, .type = GgufType::kF32, .extents = extents};
    if (target.entry.extents != extents)
      throw InputError("is of another shape than that of the other experts");
    for (const TensorRun& run : runs_of(*match.rule, shape, match.expert))
      target.pieces.push_back({hf, match.rule, run});
  }

  void add_extra() {
    if (architecture_.extra == nullptr) return;
    for (ExtraTensor& extra : architecture_.extra(config_)) {
      const auto count = static_cast<int64_t>(extra.values.size());
      targets_[extra.name] = {.entry = {.name = extra.name, .type = GgufType::kF32, .extents = {count}},
                              .pieces = {},
                              .values = std::move(extra.values)};
    }
  }

  /// Sorts the pieces, and checks that they are all there: of a missing expert nothing else would tell.
  void finish(Target& target) const {
    std::ranges::sort(target.pieces, {}, [](const Piece& p) { return p.run.gguf; });
    int64_t next = 0, count = 1;
    for (const int64_t extent : target.entry.extents) count *= extent;
    for (const Piece& p : target.pieces) {
      if (p.run.gguf == next) next += p.run.count;
    }
    if (!target.pieces.empty() && next != count) {
      throw InputError(fmt::format("{}: the weights of an expert that belongs to {} are missing", model_.path,
                                   excerpt(target.entry.name)));
    }
  }

  GgufMetadata describe() const {
    GgufMetadata m;
    m.text("general.architecture", architecture_.name);
    m.text("general.name", how_.name);
    m.u32("general.file_type", file_type(type_));
    m.u32("general.quantization_version", 2);
    ModelConfig config = config_;
    architecture_.visit(GgufKeys(m, architecture_.name, context_length()), config);
    add_tokenizer(how_.tokenizer, model_.config, *config_.vocab_size, m, warn_);
    m.text(kConfigKey, model_.config);
    add_dtypes(m);
    for (const auto& [name, target] : targets_) add_correction(target, m);
    return m;
  }

  int64_t context_length() const {
    const nlohmann::json config = parse_json(model_.config, model_.config_origin, NonFinite::kTagged);
    const auto found = config.find("max_position_embeddings");
    const bool known =
        found != config.end() && found->is_number_unsigned() && found->get<uint64_t>() < UINT32_MAX;
    return known ? found->get<int64_t>() : kUnknownContext;
  }

  void add_dtypes(GgufMetadata& m) const {
    const Dtype most = most_frequent_dtype(dtypes_);
    m.text(kDtypeKey, name_of(most));
    for (const Dtype dtype : {Dtype::kF32, Dtype::kBF16, Dtype::kF16}) {
      std::vector<std::string> others;
      for (const auto& [name, d] : dtypes_) {
        if (d == dtype && d != most) others.push_back(name);
      }
      if (!others.empty()) m.texts(fmt::format("{}.{}", kDtypeKey, name_of(dtype)), others);
    }
  }

  /// Only a file that loses nothing else has corrections.
  void add_correction(const Target& target, GgufMetadata& m) const {
    if (target.pieces.size() != 1 || !target.pieces[0].rule->rounds() || target.pieces[0].rule->derived)
      return;
    const Piece& piece = target.pieces[0];
    const Dtype dtype = dtypes_.at(piece.hf);
    if (target.entry.type != GgufType::kF32 && target.entry.type != type_of(dtype)) return;
    Buffer space;
    const View source = model_.tensors->read(piece.hf, space);
    if (source.dtype != dtype) return;
    std::vector<float> values = values_of(piece, 0, source.count());
    std::string packed(static_cast<size_t>(source.count() * traits_of(target.entry.type).block_bytes), '\0');
    pack_blocks(target.entry.type, values.data(), source.count(), packed.data());
    expand_blocks(target.entry.type, packed.data(), source.count(), values.data());
    to_hf_values(*piece.rule, source.shape, values.data());
    if (const auto correction = correction_for(source, values.data()))
      m.bytes(correction->key + piece.hf, correction->bytes);
  }

  /// `count` values of a piece as GGUF has them, from its element `first` on.
  std::vector<float> values_of(const Piece& piece, int64_t first, int64_t count) const {
    Buffer space;
    const View whole = model_.tensors->read(piece.hf, space);
    std::vector<float> values(static_cast<size_t>(count));
    const int64_t at = piece.run.hf + first;
    load_float(View(static_cast<char*>(whole.data) + at * size_of(whole.dtype), whole.dtype, {count}),
               View(values.data(), Dtype::kF32, {count}));
    if (!piece.rule->keeps_values()) to_gguf_values(*piece.rule, whole.shape, values.data());
    return values;
  }

  void write_tensor(const Target& target, GgufWriter& writer) const {
    if (target.pieces.empty()) return append(target.entry.type, target.values, writer);
    for (const Piece& piece : target.pieces)
      append(target.entry.type, values_of(piece, 0, piece.run.count), writer);
  }

  static void append(GgufType type, const std::vector<float>& values, GgufWriter& writer) {
    const GgufTypeTraits& traits = traits_of(type);
    const auto count = static_cast<int64_t>(values.size());
    constexpr int64_t kAtOnce = 1 << 20;  // a multiple of every block
    std::string packed;
    for (int64_t first = 0; first < count; first += kAtOnce) {
      const int64_t n = std::min(kAtOnce, count - first);
      packed.resize(static_cast<size_t>(n / traits.block * traits.block_bytes));
      pack_blocks(type, values.data() + first, n, packed.data());
      writer.append(packed.data(), static_cast<int64_t>(packed.size()));
    }
  }

  const ModelSource& model_;
  const GgufExport& how_;
  const std::function<void(const std::string&)>& warn_;
  ModelConfig config_;
  const GgufArchitecture& architecture_;
  TensorNames names_;
  std::map<std::string, Target> targets_;
  std::map<std::string, Dtype> dtypes_;
  GgufType type_ = GgufType::kF32;
};

}  // namespace

void write_gguf(const std::string& path, const ModelSource& model, const GgufExport& how,
                const std::function<void(const std::string&)>& warn) {
  Exporter(model, how, warn).write(path);
}

}  // namespace natrix
