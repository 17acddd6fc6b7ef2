// natrix convert: a model from one format to another: Hugging Face directories and GGUF files, both ways.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/files/atomic_file.h"
#include "core/gguf/gguf_export.h"
#include "core/gguf/gguf_model.h"
#include "core/gguf/gguf_tokenizer.h"
#include "core/hf/hf_export.h"
#include "core/io/checkpoint_dir.h"
#include "launch/api/model_files.h"
#include "launch/commands/commands.h"
#include "launch/commands/common.h"

namespace natrix {
namespace {

namespace fs = std::filesystem;

struct ConvertFlags {
  std::string from, to, format, type;
  bool json = false, quiet = false;

  bool to_gguf() const { return format.empty() ? is_gguf_path(to) : format == "gguf"; }
};

constexpr std::pair<const char*, GgufType> kTypes[] = {{"f32", GgufType::kF32},
                                                       {"bf16", GgufType::kBF16},
                                                       {"f16", GgufType::kF16},
                                                       {"q8_0", GgufType::kQ8_0},
                                                       {"q4_k", GgufType::kQ4_K}};

std::optional<GgufType> gguf_type(const std::string& name) {
  for (const auto& [known, type] : kTypes) {
    if (name == known) return type;
  }
  return std::nullopt;  // not given
}

/// The dtype of each tensor in Hugging Face: the one asked for, or its own.
std::map<std::string, Dtype> dtypes_of(const ConvertFlags& flags, const std::string& path,
                                       const ModelSource& source) {
  std::map<std::string, Dtype> dtypes;
  if (is_gguf_path(path)) dtypes = hf_dtypes(GgufFile(path), *source.tensors);
  for (const auto& [name, entry] : source.tensors->entries()) {
    if (!dtypes.contains(name)) dtypes[name] = entry.dtype == Dtype::kF64 ? Dtype::kF32 : entry.dtype;
    if (flags.type == "f32") dtypes[name] = Dtype::kF32;
    if (flags.type == "bf16") dtypes[name] = Dtype::kBF16;
    if (flags.type == "f16") dtypes[name] = Dtype::kF16;
  }
  return dtypes;
}

/// A directory that holds a model in the end, or is as it was before.
class NewDirectory {
 public:
  explicit NewDirectory(std::string path) : path_(std::move(path)) {
    std::error_code error;
    existed_ = fs::exists(path_, error);
    if (existed_ && (!fs::is_directory(path_, error) || !fs::is_empty(path_, error)))
      throw InputError(fmt::format("{}: exists; expected a new or an empty directory", path_));
    check_output_directory("DST", path_);
    fs::create_directories(path_, error);
    if (error) throw RunError(fmt::format("{}: cannot be created: {}", path_, error.message()));
  }
  ~NewDirectory() {
    if (kept_) return;
    std::error_code ignored;  // what caused this is already on its way to the user
    if (!existed_) fs::remove_all(path_, ignored);
    for (fs::directory_iterator at(path_, ignored), end; existed_ && !ignored && at != end;
         at.increment(ignored))
      fs::remove_all(at->path(), ignored);
  }
  NewDirectory(const NewDirectory&) = delete;
  NewDirectory& operator=(const NewDirectory&) = delete;
  void keep() { kept_ = true; }

 private:
  std::string path_;
  bool existed_ = false, kept_ = false;
};

void convert_to_hf(const ConvertFlags& flags, const std::string& path, const ModelSource& source) {
  if (flags.type == "q8_0" || flags.type == "q4_k")
    throw InputError(fmt::format("--type {}: a Hugging Face directory holds f32, bf16 or f16", flags.type));
  const std::map<std::string, Dtype> dtypes = dtypes_of(flags, path, source);
  std::map<Dtype, int64_t> counts;
  for (const auto& [name, dtype] : dtypes) ++counts[dtype];
  const Dtype most = std::ranges::max_element(counts, {}, [](const auto& c) { return c.second; })->first;
  ModelTexts texts{.config = with_dtype(source.config, most)};
  texts.tokenizer =
      is_gguf_path(path) ? read_tokenizer_files(GgufFile(path), print_warning) : tokenizer_files(path);
  NewDirectory to(flags.to);
  export_hf_directory(flags.to, source, texts, [&](const std::string& name) { return dtypes.at(name); });
  to.keep();
}

void convert_to_gguf(const ConvertFlags& flags, const std::string& path, const ModelSource& source) {
  if (!is_gguf_path(flags.to))
    throw InputError(
        fmt::format("DST: {} does not end in .gguf, by which natrix knows such files", flags.to));
  const auto held = check_output("DST", flags.to);
  fs::path name = fs::path(path).lexically_normal();
  if (name.filename().empty()) name = name.parent_path();
  write_gguf(
      flags.to, source,
      {.type = gguf_type(flags.type),
       .name = name.stem() == "model" && name.has_parent_path() ? name.parent_path().filename().string()
                                                                : name.stem().string(),
       .tokenizer = model_tokenizer_files(path)},
      print_warning);
}

int convert(const ConvertFlags& flags, const LayerKinds& kinds) {
  const std::string path = resolve_model_dir(flags.from);
  const ModelConfig config = read_checkpoint_model(
      path, [](const std::string&) {}, kinds);
  const ModelSource source = open_model(path);
  check_weights(source, config, describe_model(config, nullptr, kinds)->params());
  flags.to_gguf() ? convert_to_gguf(flags, path, source) : convert_to_hf(flags, path, source);
  const size_t tensors = source.tensors->entries().size();
  if (flags.json) {
    print_json({{"from", path},
                {"to", flags.to},
                {"format", flags.to_gguf() ? "gguf" : "hf"},
                {"tensors", tensors}});
  } else if (!flags.quiet) {
    fmt::print("{}: {} tensors of {}\n", flags.to, tensors, path);
  }
  return 0;
}

}  // namespace

void add_convert(CLI::App& app, Action& chosen, const Program& program) {
  CLI::App* c = add_command(app, "convert", "A model from one format to another: Hugging Face, GGUF");
  auto f = std::make_shared<ConvertFlags>();
  as_path(c->add_option("SRC", f->from, "A Hugging Face directory, a GGUF file, or a run directory"))
      ->required();
  as_path(c->add_option("DST", f->to, "A new directory, or a file that ends in .gguf"))->required();
  c->add_option("--to", f->format, "hf or gguf; else as DST ends")->check(CLI::IsMember({"hf", "gguf"}));
  c->add_option(
       "--type", f->type,
       "What matrices are stored as: f32, bf16, f16, and in GGUF q8_0 or q4_k; else as in SRC, where "
       "Hugging Face gets f32 of quantised ones")
      ->check(CLI::IsMember({"f32", "bf16", "f16", "q8_0", "q4_k"}));
  c->add_flag("--json", f->json, "Print one JSON object to stdout and nothing else there");
  c->add_flag("-q,--quiet", f->quiet, "Print nothing but warnings");
  c->footer(
      "Example: natrix convert runs/quickstart model.gguf --type q8_0\ndocs/gguf.md tells what is kept.");
  c->callback([f, &chosen, &program] { chosen = [f, &program] { return convert(*f, program.kinds); }; });
}

}  // namespace natrix
