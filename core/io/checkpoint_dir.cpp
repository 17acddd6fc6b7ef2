#include "core/io/checkpoint_dir.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/files/atomic_file.h"
#include "core/files/json.h"
#include "core/files/mapped_file.h"
#include "core/files/xxhash64.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kStepPrefix = "step-";
constexpr std::string_view kAsidePrefix = ".tmp-";  // hidden: listings and globs pass it by
constexpr const char* kManifest = "manifest.json";
constexpr const char* kLatest = "latest";
constexpr const char* kTrainerFolder = "trainer/";
constexpr int64_t kManifestVersion = 1;

std::string step_name(int64_t step) {
  return fmt::format("{}{:08}", kStepPrefix, step);
}

std::optional<int64_t> step_of(std::string_view name) {
  if (!name.starts_with(kStepPrefix)) return std::nullopt;
  const std::string_view digits = name.substr(kStepPrefix.size());
  const bool plain = digits.size() >= 8 && digits.size() <= 18 &&
                     digits.find_first_not_of("0123456789") == std::string_view::npos;
  return plain ? std::optional(std::stoll(std::string(digits))) : std::nullopt;
}

// Turns the standard library's file errors into ours.
template <class F>
auto on_disk(std::string_view task, const std::string& root, F&& f) {
  try {
    return f();
  } catch (const fs::filesystem_error& e) {
    throw RunError(
        fmt::format("cannot {} in {}: {}: {}", task, root, e.path1().string(), e.code().message()));
  }
}

std::vector<FoundCheckpoint> checkpoints_newest_first(const std::string& root) {
  std::vector<FoundCheckpoint> found;
  for (const auto& entry : fs::directory_iterator(root)) {
    if (const auto step = step_of(entry.path().filename().string()); step && entry.is_directory()) {
      found.push_back({entry.path().string(), *step});
    }
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.step > b.step; });
  return found;
}

// All files below `dir` as relative paths, sorted.
std::vector<std::string> files_below(const fs::path& dir) {
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(dir)) {
    if (entry.is_regular_file()) files.push_back(entry.path().lexically_relative(dir).generic_string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

void sync_tree(const fs::path& dir) {
  for (const auto& entry : fs::recursive_directory_iterator(dir)) {
    if (entry.is_directory()) sync_directory(entry.path().string());
    if (entry.is_regular_file()) sync_file(entry.path().string());
  }
  sync_directory(dir.string());
}

void write_manifest(const std::string& dir) {
  nlohmann::json files = nlohmann::json::array();
  for (const std::string& name : files_below(dir)) {
    const std::string path = dir + "/" + name;
    files.push_back({{"name", name}, {"size", fs::file_size(path)}, {"xxh3_64", hash_file(path)}});
  }
  const nlohmann::json manifest = {{"version", kManifestVersion}, {"files", files}};
  write_file(dir + "/" + kManifest, manifest.dump(2) + "\n");
}

// Removing a tree is not atomic. It is hidden first, so that a half-removed tree never looks
// like a checkpoint.
void remove_checkpoint(const fs::path& dir) {
  const fs::path hidden =
      dir.parent_path() / fmt::format("{}removed-{}", kAsidePrefix, dir.filename().string());
  fs::remove_all(hidden);
  fs::rename(dir, hidden);
  fs::remove_all(hidden);
}

bool stays_inside(const std::string& name) {
  const fs::path path(name);
  return !name.empty() && path.is_relative() && std::find(path.begin(), path.end(), "..") == path.end() &&
         name.find('\0') == std::string::npos;
}

void verify_file(const std::string& dir, const JsonObject& entry, Verify what) {
  const std::string name = entry.text("name");
  if (!stays_inside(name)) entry.fail("name", "a path inside the checkpoint");
  const std::string path = dir + "/" + name;
  const int64_t size = entry.integer("size", 0, INT64_MAX);
  const std::string hash = entry.text("xxh3_64");
  std::error_code error;
  const auto found_size = fs::file_size(path, error);
  if (error) throw InputError(fmt::format("{}: listed in the manifest, but {}", path, error.message()));
  if (static_cast<int64_t>(found_size) != size) {
    throw InputError(fmt::format("{}: has {} bytes, but the manifest says {}", path, found_size, size));
  }
  if (what == Verify::kModel && name.starts_with(kTrainerFolder)) return;
  if (what == Verify::kTexts && !name.ends_with(".json")) return;
  if (const std::string found_hash = hash_file(path); found_hash != hash) {
    throw InputError(
        fmt::format("{}: is damaged: its checksum is {}, but the manifest says {}", path, found_hash, hash));
  }
}

// Describes a link that leads nowhere; else empty.
std::string broken_link(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_symlink(fs::symlink_status(path, ignored)) || fs::exists(path, ignored)) return "";
  return fmt::format("{} is a link to {}, which is not there", path.string(),
                     fs::read_symlink(path, ignored).string());
}

// Whether a writer was killed while it replaced a checkpoint by one of the same step.
bool was_being_replaced(const fs::path& root, const std::string& name) {
  return fs::exists(root / fmt::format("{}{}", kAsidePrefix, name)) ||
         fs::exists(root / fmt::format("{}removed-{}", kAsidePrefix, name));
}

// The name that ROOT/latest holds.
std::string read_latest(const std::string& root) {
  const std::string path = root + "/" + kLatest;
  const MappedFile file(path);
  std::string_view name = file.text();
  while (!name.empty() && (name.back() == '\n' || name.back() == '\r')) name.remove_suffix(1);
  if (!step_of(name)) {
    throw InputError(fmt::format("{}: holds {}; expected a checkpoint's name such as {}", path, excerpt(name),
                                 step_name(100)));
  }
  return std::string(name);
}

// Whether ROOT/latest names an existing checkpoint, whole or damaged.
bool names_a_checkpoint(const std::string& root) {
  try {
    return fs::is_directory(root + "/" + read_latest(root));
  } catch (const std::runtime_error&) {
    return false;
  }
}

std::optional<FoundCheckpoint> newest_valid(const std::string& root, const Warn& warn) {
  const std::vector<FoundCheckpoint> all = checkpoints_newest_first(root);
  try {
    if (!all.empty() && fs::exists(root + "/" + kLatest)) read_latest(root);
  } catch (const std::runtime_error& e) {
    warn(fmt::format("{}; the newest checkpoint that is whole is taken instead", e.what()));
  }
  for (const FoundCheckpoint& found : all) {
    try {
      verify_checkpoint(found.dir);
      return found;
    } catch (const std::runtime_error& e) {  // damaged, or the disk fails
      warn(fmt::format("checkpoint {} cannot be used, trying the one before: {}", found.dir, e.what()));
    }
  }
  return std::nullopt;
}

}  // namespace

CheckpointWriter::CheckpointWriter(const std::string& root, int64_t step)
    : root_(root), name_(step_name(step)), aside_(fmt::format("{}/{}{}", root, kAsidePrefix, name_)) {
  on_disk("start a checkpoint", root, [&] {
    fs::remove_all(aside_);
    fs::create_directories(aside_);
    sync_directory((fs::path(root) / "..").string());  // ROOT itself may be new
  });
}

CheckpointWriter::~CheckpointWriter() {
  std::error_code ignored;  // the next find_latest_valid() tries again
  if (!committed_) fs::remove_all(aside_, ignored);
}

std::string CheckpointWriter::commit() {
  require(!committed_, "a checkpoint is committed twice");
  const std::string target = root_ + "/" + name_;
  on_disk("commit a checkpoint", root_, [&] {
    sync_tree(aside_);
    write_manifest(aside_);
    if (fs::exists(target)) remove_checkpoint(target);
    fs::rename(aside_, target);
    committed_ = true;
    sync_directory(root_);
  });
  write_file(root_ + "/" + kLatest, name_ + "\n");
  return target;
}

void verify_checkpoint(const std::string& dir, Verify what) {
  const std::string path = dir + "/" + kManifest;
  const nlohmann::json json = read_json_file(path);
  const JsonObject manifest(json, path);
  manifest.integer("version", kManifestVersion, kManifestVersion);
  const nlohmann::json& files = manifest.at("files");
  if (!files.is_array()) manifest.fail("files", "an array");
  for (size_t i = 0; i < files.size(); ++i) {
    verify_file(dir, JsonObject(files[i], path, fmt::format("files[{}].", i)), what);
  }
}

std::optional<FoundCheckpoint> find_latest_valid(const std::string& root, const Warn& warn) {
  return on_disk("look for checkpoints", root, [&]() -> std::optional<FoundCheckpoint> {
    if (!fs::is_directory(root)) return std::nullopt;
    const std::optional<FoundCheckpoint> found = newest_valid(root, warn);
    // Do this before removing the rest of a replacement: that rest shows that a writer was killed, and not
    // that somebody removed a checkpoint.
    if (found && !names_a_checkpoint(root)) {
      write_file(root + "/" + kLatest, fs::path(found->dir).filename().string() + "\n");
    }
    for (const auto& entry : fs::directory_iterator(root)) {
      if (entry.path().filename().string().starts_with(kAsidePrefix)) fs::remove_all(entry.path());
    }
    return found;
  });
}

bool holds_checkpoints(const std::string& root) {
  return on_disk("look for checkpoints", root,
                 [&] { return fs::is_directory(root) && !checkpoints_newest_first(root).empty(); });
}

std::optional<FoundCheckpoint> newest_with_texts(const std::string& root) {
  return on_disk("look for checkpoints", root, [&]() -> std::optional<FoundCheckpoint> {
    if (!fs::is_directory(root)) return std::nullopt;
    for (const FoundCheckpoint& found : checkpoints_newest_first(root)) {
      try {
        verify_checkpoint(found.dir, Verify::kTexts);
        return found;
      } catch (const std::runtime_error&) {  // loading it reports the reason
      }
    }
    return std::nullopt;
  });
}

std::string missing_checkpoint(const std::string& root) {
  return on_disk("look for checkpoints", root, [&]() -> std::string {
    if (const std::string broken = broken_link(root); !broken.empty()) return broken;
    if (!fs::is_directory(root)) return "";
    const std::string latest = root + "/" + kLatest;
    if (const std::string broken = broken_link(latest); !broken.empty()) return broken;
    if (!fs::exists(latest)) return "";
    const std::vector<FoundCheckpoint> left = checkpoints_newest_first(root);
    std::string name;
    try {
      name = read_latest(root);
    } catch (const InputError& e) {  // find_latest_valid() warns of it if another checkpoint is whole
      return left.empty() ? e.what() : "";
    }
    if (fs::is_directory(root + "/" + name) || was_being_replaced(root, name)) return "";
    std::string text = fmt::format("{} names {}, which is not there", latest, name);
    if (left.empty()) return text;
    const std::string newest = fs::path(left[0].dir).filename().string();
    return fmt::format("{}; the newest that is there is {}: to go on from it, echo {} > {}", text, newest,
                       newest, latest);
  });
}

void prune_checkpoints(const std::string& root, int64_t keep) {
  require(keep >= 1, "at least one checkpoint is kept");
  on_disk("remove old checkpoints", root, [&] {
    const std::string latest = read_latest(root);
    const auto found = checkpoints_newest_first(root);
    for (size_t i = static_cast<size_t>(keep); i < found.size(); ++i) {
      if (fs::path(found[i].dir).filename() != latest) remove_checkpoint(found[i].dir);
    }
  });
}

std::string resolve_model_dir(const std::string& path) {
  std::error_code ignored;  // what cannot be searched is not there for us
  if (fs::exists(path + "/config.json", ignored)) return path;
  if (path.ends_with(".gguf") && fs::is_regular_file(path, ignored)) return path;
  for (const std::string& root : {path + "/checkpoints", path}) {
    const auto is_there = [&](const std::string& name) {
      return fs::exists(fs::symlink_status(name, ignored));
    };
    if (is_there(root + "/" + kLatest) || fs::is_symlink(fs::symlink_status(root, ignored))) {
      if (const std::string missing = missing_checkpoint(root); !missing.empty()) throw InputError(missing);
    }
    if (!fs::exists(root + "/" + kLatest, ignored)) continue;
    const std::string dir = root + "/" + read_latest(root);
    try {
      verify_checkpoint(dir, Verify::kModel);
    } catch (const InputError& e) {
      throw InputError(fmt::format(
          "{} is damaged: {}; an earlier checkpoint can be named by its own directory", dir, e.what()));
    }
    return dir;
  }
  throw InputError(
      fmt::format("{}: {}; expected a directory with config.json and model.safetensors, or a run directory "
                  "with checkpoints",
                  path,
                  !fs::exists(path, ignored)        ? "no such file or directory"
                  : fs::is_directory(path, ignored) ? "no model in this directory"
                                                    : "not a directory"));
}

}  // namespace natrix
