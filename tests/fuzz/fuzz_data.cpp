// Any bytes as data to train on, of the kind that the first byte chooses: refused with InputError, or read to the
// end.
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/text/text_documents.h"
#include "core/text/token_formats.h"
#include "kernels/base/check.h"
#include "memory_file.h"

namespace natrix::fuzz {
namespace {

constexpr std::array kNames = {"in.npy", "in.bin", "m.idx", "in.jsonl", "in.jsonl.gz", "in.txt.zst"};

/// A directory in which a name leads to the input: readers tell formats by the ends of names.
std::string link_to(const MemoryFile& input, const std::string& name) {
  static const std::string folder = [] {
    std::string pattern = (std::filesystem::temp_directory_path() / "natrix-fuzz-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) std::abort();
    return pattern;
  }();
  const std::string path = folder + "/" + name;
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
  std::filesystem::create_symlink(input.path(), path);
  return path;
}

void read_tokens(const std::string& path) {
  const auto format = token_format_of(path);
  if (format) open_token_file(*format, path);
}

void read_documents(const std::string& path, int64_t size) {
  TextFile file;
  file.path = path;
  file.size = size;
  file.records = path.find(".jsonl") != std::string::npos;
  holds_conversations(file);
  const std::vector<TextFile> files = {file};
  TextDocuments documents(files);
  while (const auto piece = documents.next()) {
    if (file.records) text_of_record(piece->text, "text", path);
  }
}

}  // namespace
}  // namespace natrix::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace natrix;
  if (size == 0) return 0;
  const std::string name = fuzz::kNames[data[0] % fuzz::kNames.size()];
  const fuzz::MemoryFile input(data + 1, size - 1);
  const std::array<uint8_t, 18> tokens = {};
  const fuzz::MemoryFile beside(tokens.data(), tokens.size());
  fuzz::link_to(beside, "m.bin");
  const std::string path = fuzz::link_to(input, name);
  try {
    data[0] % fuzz::kNames.size() < 3 ? fuzz::read_tokens(path)
                                      : fuzz::read_documents(path, static_cast<int64_t>(size) - 1);
  } catch (const InputError&) {
  }
  return 0;
}
