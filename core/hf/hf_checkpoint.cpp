#include "core/hf/hf_checkpoint.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/files/atomic_file.h"
#include "core/files/json.h"
#include "core/files/mapped_file.h"
#include "core/files/xxhash64.h"
#include "core/hf/hf_formats.h"
#include "kernels/base/transfer.h"

namespace natrix {
namespace {

constexpr const char* kStem = "model";
constexpr size_t kListed = 5;  // names in a message before "… and N more"

/// The tensors of files in Hugging Face's layout.
class StoredSource : public TensorSource {
 public:
  explicit StoredSource(const std::string& dir) : stored_(dir, kStem) {
    for (const auto& [name, tensor] : stored_.tensors())
      entries_.emplace(name, Entry{tensor.view.dtype, tensor.view.shape, tensor.file});
  }
  const std::map<std::string, Entry>& entries() const override { return entries_; }
  View read(const std::string& name, Buffer&) const override { return stored_.at(name).view; }

 private:
  StoredTensors stored_;
  std::map<std::string, Entry> entries_;
};

/// A directory without its config.json.
ModelSource open_weights(const std::string& dir) {
  ModelSource source;
  source.path = dir;
  if (holds_tensors(dir, kStem)) source.tensors = std::make_unique<StoredSource>(dir);
  return source;
}

const TensorSource& weights_of(const ModelSource& source) {
  if (source.tensors) return *source.tensors;
  std::error_code ignored;  // a directory that may not be searched holds nothing for us
  throw InputError(fmt::format(
      "{}: no weights; expected {}.safetensors or {}.safetensors.index.json{}", source.path, kStem, kStem,
      std::filesystem::exists(source.path + "/pytorch_model.bin", ignored)
          ? " (pytorch_model.bin can run code when it is read: save it as safetensors)"
          : ""));
}

std::string list_of(const std::vector<std::string>& names) {
  std::string text = fmt::format(
      "{}", fmt::join(names.begin(),
                      names.begin() + static_cast<std::ptrdiff_t>(std::min(kListed, names.size())), ", "));
  if (names.size() > kListed) text += fmt::format(" and {} more", names.size() - kListed);
  return text;
}

bool is_float(Dtype dtype) {
  return dtype == Dtype::kF32 || dtype == Dtype::kF64 || dtype == Dtype::kBF16 || dtype == Dtype::kF16;
}

FileSlice file_slice(const ParamPart& part) {
  return part.slice.value_or(FileSlice{.name = part.name, .shape = part.shape, .first = 0});
}

View range_of(View whole, int64_t first, const Shape& shape) {
  require(whole.contiguous() && first >= 0 && first + shape.count() <= whole.count(),
          "a range outside of its tensor");
  return View(static_cast<char*>(whole.data) + first * size_of(whole.dtype), whole.dtype, shape);
}

/// The files of a model, and under which of its two names they hold the weight of a tied head.
struct ModelFiles {
  ModelFiles(const ModelSource& source, const ModelConfig& config, const HfFamilies& families = hf_families())
      : stored(weights_of(source)),
        family(hf_family(config, families)),
        names(family.names(config)),
        tied(config.tie_embeddings) {}

  bool holds_both() const { return stored.contains(names.embedding) && stored.contains(names.head); }
  /// Where the files hold a part.
  FileSlice slice_of(const ParamPart& part) const {
    FileSlice slice = file_slice(part);
    const bool only_head =
        tied && part.name == names.embedding && !stored.contains(slice.name) && stored.contains(names.head);
    if (only_head) slice.name = names.head;
    return slice;
  }
  /// Whether a tensor repeats the embedding under the head's name.
  bool is_copy(const std::string& name, const TensorSource::Entry& tensor) const {
    return tied && name == names.head && holds_both() && is_float(tensor.dtype) &&
           tensor.shape == stored.entry(names.embedding).shape;
  }
  bool is_ignored(const std::string& name) const { return family.ignores != nullptr && family.ignores(name); }
  /// What the absence of a part has to do with the head, for the message.
  std::string about(const ParamPart& part) const {
    if (part.name != names.embedding) return {};
    if (tied) return fmt::format(" (nor {}, to which config.json ties it)", excerpt(names.head));
    if (!stored.contains(names.head)) return {};
    return fmt::format(" (config.json does not tie it to {}, which is there)", excerpt(names.head));
  }

  const TensorSource& stored;
  HfFamily family;
  HfNames names;
  bool tied;
};

// A block at a time, so that two large tensors need no memory.
bool equal_values(View a, View b) {
  require(a.shape == b.shape, "tensors of other shapes are compared");
  if (a.dtype == b.dtype && std::memcmp(a.data, b.data, static_cast<size_t>(a.bytes())) == 0) return true;
  constexpr int64_t kBlock = 4096;
  const Buffer wide_a(Dtype::kF64, {kBlock}), wide_b(Dtype::kF64, {kBlock});
  const auto block = [](View v, int64_t first, int64_t count) {
    return View(static_cast<char*>(v.data) + first * size_of(v.dtype), v.dtype, {count});
  };
  for (int64_t first = 0; first < a.count(); first += kBlock) {
    const int64_t count = std::min(kBlock, a.count() - first);
    load_float(block(a, first, count), block(wide_a.view(), 0, count));
    load_float(block(b, first, count), block(wide_b.view(), 0, count));
    const double *x = wide_a.view().as<double>(), *y = wide_b.view().as<double>();
    if (!std::equal(x, x + count, y)) return false;
  }
  return true;
}

// Missing and unexpected together: a renamed tensor is both, and the message then shows the two names.
void check_names(const std::string& path, const ModelFiles& files, const std::vector<Param*>& params) {
  std::vector<std::string> missing, unexpected;
  std::set<std::string> expected;
  for (const Param* param : params) {
    for (const ParamPart& part : param->parts) {
      const FileSlice slice = files.slice_of(part);
      const bool first_of_tensor = expected.insert(slice.name).second;
      if (first_of_tensor && !files.stored.contains(slice.name)) {
        missing.push_back(excerpt(slice.name) + " " + slice.shape.to_string() + files.about(part));
      }
    }
  }
  for (const auto& [name, tensor] : files.stored.entries()) {
    if (!expected.contains(name) && !files.is_copy(name, tensor) && !files.is_ignored(name)) {
      unexpected.push_back(excerpt(name) + " " + tensor.to_string());
    }
  }
  if (missing.empty() && unexpected.empty()) return;
  std::string what;
  if (!missing.empty()) what += fmt::format("; {} missing: {}", missing.size(), list_of(missing));
  if (!unexpected.empty()) what += fmt::format("; {} unexpected: {}", unexpected.size(), list_of(unexpected));
  throw InputError(
      fmt::format("{}: the weights are not those of the model that config.json describes ({} tensors){}",
                  path, expected.size(), what));
}

void check_part(const ModelFiles& files, const ParamPart& part) {
  const FileSlice slice = files.slice_of(part);
  const TensorSource::Entry& stored = files.stored.entry(slice.name);
  if (stored.shape != slice.shape || !is_float(stored.dtype)) {
    throw InputError(fmt::format("{}: tensor {} is {}; the model needs floating point of shape {}",
                                 *stored.file, excerpt(slice.name), stored.to_string(),
                                 slice.shape.to_string()));
  }
}

void check(const std::string& path, const ModelFiles& files, const std::vector<Param*>& params) {
  check_names(path, files, params);
  for (const Param* param : params) {
    for (const ParamPart& part : param->parts) check_part(files, part);
  }
}

View part_of(View whole, const ParamPart& part) {
  return range_of(whole, part.first, part.shape);
}

void tell_ignored(const std::string& path, const ModelFiles& files,
                  const std::function<void(const std::string&)>& warn) {
  std::vector<std::string> ignored;
  for (const auto& [name, tensor] : files.stored.entries()) {
    if (files.is_ignored(name)) ignored.push_back(excerpt(name));
  }
  if (ignored.empty()) return;
  warn(fmt::format(
      "{}: {} tensors are not used, as transformers does not use them; what is saved lacks them: {}", path,
      ignored.size(), list_of(ignored)));
}

}  // namespace

ModelSource open_hf_directory(const std::string& dir) {
  ModelSource source = open_weights(dir);
  source.config_origin = dir + "/config.json";
  source.config = MappedFile(source.config_origin).text();
  return source;
}

ModelConfig read_model_config(const ModelSource& source,
                              const std::function<void(const std::string&)>& warn) {
  ModelConfig config = parse_hf_config(source.config, source.config_origin);
  if (!source.tensors) return config;
  const bool may_ignore = hf_family(config).ignores != nullptr;
  if (!config.tie_embeddings && !may_ignore) return config;
  const ModelFiles files(source, config);
  if (may_ignore) tell_ignored(source.path, files, warn);
  if (!config.tie_embeddings || !files.holds_both()) return config;
  const std::string embedding = files.names.embedding, head = files.names.head;
  const TensorSource::Entry &e = files.stored.entry(embedding), &h = files.stored.entry(head);
  const bool comparable = e.shape == h.shape && is_float(e.dtype) && is_float(h.dtype);
  if (!comparable) return config;  // load_weights() refuses it
  Buffer space_e, space_h;
  if (equal_values(files.stored.read(embedding, space_e), files.stored.read(head, space_h))) return config;
  warn(fmt::format(
      "{} ties {} to {}, but they differ (in {}{}): the head is taken as a weight of its "
      "own, as transformers takes it; with \"tie_word_embeddings\": false config.json would say so",
      source.config_origin, head, embedding, *h.file, h.file == e.file ? "" : " and " + *e.file));
  config.tie_embeddings = false;
  return config;
}

ModelConfig read_model_config(const std::string& dir, const std::function<void(const std::string&)>& warn) {
  read_hf_config(dir);  // a fault of config.json is told before one of the weights
  return read_model_config(open_hf_directory(dir), warn);
}

void check_weights(const ModelSource& source, const ModelConfig& config, const std::vector<Param*>& params) {
  check(source.path, ModelFiles(source, config), params);
}

void check_weights(const std::string& dir, const ModelConfig& config, const std::vector<Param*>& params) {
  check_weights(open_weights(dir), config, params);
}

void load_weights(const std::string& dir, const ModelConfig& config, const std::vector<Param*>& params) {
  load_weights(dir, config, params, params);
}

void load_weights(const ModelSource& source, const ModelConfig& config, const std::vector<Param*>& own,
                  const std::vector<Param*>& all, const HfFamilies& families) {
  const ModelFiles files(source, config, families);
  check(source.path, files, all);
  // The parts of one tensor mostly follow each other; what read() made of it serves them all.
  std::string name;
  Buffer space;
  View stored;
  for (const Param* param : own) {
    for (const ParamPart& part : param->parts) {
      const FileSlice slice = files.slice_of(part);
      if (slice.name != name) stored = files.stored.read(slice.name, space);
      name = slice.name;
      load_float(range_of(stored, slice.first, part.shape), part_of(param->value, part));
    }
    refresh_rounded(*param);
  }
}

void load_weights(const std::string& dir, const ModelConfig& config, const std::vector<Param*>& own,
                  const std::vector<Param*>& all, const HfFamilies& families) {
  load_weights(open_weights(dir), config, own, all, families);
}

void save_texts(const std::string& dir, const ModelTexts& texts) {
  require(!texts.config.empty(), "weights are saved with their config.json");
  write_file(dir + "/config.json", texts.config);
  write_file(dir + "/generation_config.json", hf_generation_config_json(texts.config));
  for (const auto& [name, text] : texts.tokenizer) write_file(dir + "/" + name, text);
}

void save_weights(const std::string& dir, const std::vector<Param*>& params, const ModelTexts& texts,
                  int64_t max_shard_bytes) {
  save_texts(dir, texts);
  write_tensors(dir, kStem, FileTensors(params, &Param::value).list(), max_shard_bytes);
}

void save_weights_part(const std::string& dir, int64_t writer, const std::vector<Param*>& params) {
  write_part(dir, kStem, writer, FileTensors(params, &Param::value).list());
}

void join_weights(const std::string& dir, const ModelTexts& texts) {
  join_parts(dir, kStem);
  save_texts(dir, texts);
}

std::vector<NamedTensor> named_parts(const std::vector<Param*>& params, View Param::*which) {
  std::vector<NamedTensor> tensors;
  for (const Param* param : params) {
    if (which == &Param::grad && !param->trainable) continue;
    for (const ParamPart& part : param->parts) tensors.push_back({part.name, part_of(param->*which, part)});
  }
  return tensors;
}

FileTensors::FileTensors(const std::vector<Param*>& params, View Param::*which) {
  std::map<std::string, Merged> merged;  // by the tensor's name
  for (const Param* param : params) {
    if (which == &Param::grad && !param->trainable) continue;
    for (const ParamPart& part : param->parts) {
      const FileSlice slice = file_slice(part);
      const View value = part_of(param->*which, part);
      if (slice.shape.count() == part.shape.count()) {
        list_.push_back({slice.name, value.reshaped(slice.shape)});
        continue;
      }
      Merged& whole = merged[slice.name];
      if (whole.filled == 0) {
        whole.at = merged_.size();
        merged_.emplace_back(value.dtype, slice.shape);
        list_.push_back({slice.name, merged_.back().view()});
      }
      copy(value, range_of(merged_[whole.at].view(), slice.first, part.shape));
      whole.filled += part.shape.count();
    }
  }
  for (const auto& [name, whole] : merged)
    require(whole.filled == merged_[whole.at].view().count(),
            "a tensor is written of which slices are missing");
}

std::string hash_weights(const std::vector<Param*>& params) {
  Xxhash64 hash;
  for (const NamedTensor& t : named_parts(params, &Param::value)) {
    hash.add(t.name + "\n" + t.view.to_string() + "\n");
    hash.add(OnHost(t.view).view().data, t.view.bytes());
  }
  return hash.hex();
}

}  // namespace natrix
