#include "core/io/state_file.h"

#include <algorithm>
#include <fmt/format.h>

#include "core/files/json.h"
#include "core/files/xxhash64.h"
#include "kernels/base/buffer.h"

namespace natrix {
namespace {

constexpr const char* kVersion = "1";
constexpr size_t kPositionDigits = 18;  // zero-padded, so the file's size does not depend on the position
constexpr int64_t kMostTokens = 999'999'999'999'999'999;

// The checksum covers the tensors in the order of their names. Without it a flipped bit would go unnoticed.
std::string checksum(std::vector<NamedTensor> tensors) {
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  Xxhash64 hash;
  for (const NamedTensor& t : tensors) {
    hash.add(t.name + "\n" + t.view.to_string() + "\n");
    const int64_t row_bytes = t.view.cols() * size_of(t.view.dtype);
    for (int64_t r = 0; r < t.view.rows(); ++r) {
      hash.add(static_cast<const char*>(t.view.data) + r * t.view.row_stride * size_of(t.view.dtype),
               row_bytes);
    }
  }
  return hash.hex();
}

std::vector<NamedTensor> tensors_of(const Safetensors& file) {
  std::vector<NamedTensor> tensors;
  for (const auto& [name, view] : file.tensors()) tensors.push_back({name, view});
  return tensors;
}

std::string metadata(const Safetensors& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end()) {
    throw InputError(
        fmt::format("{}: not a state file: its metadata has no {}; expected one that --state-out wrote",
                    file.path(), excerpt(key)));
  }
  return found->second;
}

StateInfo info_of(const Safetensors& file) {
  if (const std::string version = metadata(file, "natrix_state"); version != kVersion) {
    throw InputError(
        fmt::format("{}: a state file of version {}; expected {}", file.path(), excerpt(version), kVersion));
  }
  const std::string tokens = metadata(file, "tokens");
  if (tokens.size() != kPositionDigits || tokens.find_first_not_of("0123456789") != std::string::npos) {
    throw InputError(fmt::format("{}: metadata \"tokens\" is {}; expected {} digits", file.path(),
                                 excerpt(tokens), kPositionDigits));
  }
  if (const std::string found = checksum(tensors_of(file)); metadata(file, "checksum") != found) {
    throw InputError(fmt::format("{}: is damaged: its tensors' checksum is {}, but it says {}", file.path(),
                                 found, excerpt(metadata(file, "checksum"))));
  }
  const bool noted = file.metadata().contains("note");
  return {.model = metadata(file, "model"),
          .tokens = std::stoll(tokens),
          .about = metadata(file, "about"),
          .note = noted ? metadata(file, "note") : ""};
}

}  // namespace

void write_state_file(const std::string& path, const StateInfo& info,
                      const std::vector<NamedTensor>& tensors) {
  require(info.tokens >= 0 && info.tokens <= kMostTokens, "a state at an impossible position");
  std::map<std::string, std::string> metadata = {
      {"natrix_state", kVersion},
      {"model", info.model},
      {"tokens", fmt::format("{:0{}}", info.tokens, kPositionDigits)},
      {"checksum", checksum(tensors)},
      {"about", info.about}};
  if (!info.note.empty()) metadata["note"] = info.note;
  write_safetensors(path, tensors, metadata);
}

StateInfo read_state_info(const std::string& path) {
  return info_of(Safetensors(path));
}

StateFile::StateFile(const std::string& path, const std::string& model)
    : tensors_(path), info_(info_of(tensors_)) {
  if (info_.model != model) {
    throw InputError(
        fmt::format("{}: the state of another model: it belongs to {} ({}), this model is {}; use it with "
                    "that model, or read the text again with this one",
                    path, excerpt(info_.model), excerpt(info_.about), excerpt(model)));
  }
}

}  // namespace natrix
