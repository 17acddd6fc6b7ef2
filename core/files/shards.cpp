#include "core/files/shards.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <set>

#include "core/files/atomic_file.h"
#include "core/files/json.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

namespace fs = std::filesystem;

std::string single_file(const std::string& stem) {
  return stem + ".safetensors";
}
std::string index_file(const std::string& stem) {
  return stem + ".safetensors.index.json";
}
std::string shard_file(const std::string& stem, size_t i, size_t n) {
  return fmt::format("{}-{:05}-of-{:05}.safetensors", stem, i + 1, n);
}
std::string part_prefix(const std::string& stem) {
  return ".part-" + stem + "-";
}

bool exists_here(const std::string& path) {
  std::error_code ignored;  // a directory that may not be searched holds nothing for us
  return fs::exists(path, ignored);
}

void remove_earlier(const std::string& path) {
  std::error_code error;
  fs::remove(path, error);
  if (error) throw RunError(fmt::format("cannot remove {}: {}", path, error.message()));
}

void require_plain_name(const JsonObject& map, const std::string& tensor, const std::string& shard) {
  const bool plain = shard.find('/') == std::string::npos && shard.find('\0') == std::string::npos &&
                     shard.ends_with(".safetensors");
  if (!plain) map.fail(tensor, "the name of a .safetensors file in the same directory");
}

std::vector<std::vector<NamedTensor>> split_into_shards(const std::vector<NamedTensor>& tensors,
                                                        int64_t max_bytes) {
  std::vector<std::vector<NamedTensor>> shards(1);
  int64_t filled = 0;
  for (const NamedTensor& t : tensors) {
    if (!shards.back().empty() && filled + t.view.bytes() > max_bytes) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back().push_back(t);
    filled += t.view.bytes();
  }
  return shards;
}

/// Writes the index from the shards' headers.
void write_index(const std::string& dir, const std::string& stem, const std::vector<std::string>& shards) {
  nlohmann::json map = nlohmann::json::object();
  int64_t total = 0;
  for (const std::string& name : shards) {
    const Safetensors file(dir + "/" + name);
    for (const auto& [tensor, view] : file.tensors()) {
      map[tensor] = name;
      total += view.bytes();
    }
  }
  const nlohmann::json index = {{"metadata", {{"total_size", total}}}, {"weight_map", map}};
  write_file(dir + "/" + index_file(stem), index.dump(2) + "\n");
}

}  // namespace

StoredTensors::StoredTensors(const std::string& dir, const std::string& stem)
    : path_(dir + "/" + single_file(stem)) {
  if (exists_here(path_)) {
    add(path_);
  } else if (exists_here(dir + "/" + index_file(stem))) {
    path_ = dir + "/" + index_file(stem);
    add_shards(dir);
  } else {
    throw InputError(
        fmt::format("{}: no tensors; expected {} or {}", dir, single_file(stem), index_file(stem)));
  }
}

void StoredTensors::add(const std::string& path) {
  const Safetensors& file = *files_.emplace_back(std::make_unique<Safetensors>(path));
  for (const auto& [name, view] : file.tensors()) {
    const auto [at, is_new] = tensors_.try_emplace(name, Tensor{view, &file.path()});
    if (!is_new) {
      throw InputError(
          fmt::format("{}: tensor {} is in {} too; expected it once", path, excerpt(name), *at->second.file));
    }
  }
}

void StoredTensors::add_shards(const std::string& dir) {
  const nlohmann::json json = read_json_file(path_);
  const JsonObject map = JsonObject(json, path_).object("weight_map");
  std::map<std::string, std::string> shard_of;
  std::set<std::string> shards;
  for (const auto& [tensor, _] : json["weight_map"].items()) {
    const std::string shard = map.text(tensor);
    require_plain_name(map, tensor, shard);
    shard_of[tensor] = shard;
    shards.insert(shard);
  }
  for (const std::string& shard : shards) {
    if (!exists_here(dir + "/" + shard)) {
      throw InputError(fmt::format("{}: shard {} is not in the directory; copy the whole checkpoint", path_,
                                   excerpt(shard)));
    }
    add(dir + "/" + shard);
  }
  for (const auto& [tensor, shard] : shard_of) {
    const auto found = tensors_.find(tensor);
    if (found == tensors_.end() || *found->second.file != dir + "/" + shard) {
      throw InputError(fmt::format("{}: tensor {} should be in {}, but that file does not hold it", path_,
                                   excerpt(tensor), excerpt(shard)));
    }
  }
}

bool holds_tensors(const std::string& dir, const std::string& stem) {
  return exists_here(dir + "/" + single_file(stem)) || exists_here(dir + "/" + index_file(stem));
}

void write_tensors(const std::string& dir, const std::string& stem, const std::vector<NamedTensor>& tensors,
                   int64_t max_shard_bytes) {
  const auto shards = split_into_shards(tensors, max_shard_bytes);
  if (shards.size() == 1) {
    write_safetensors(dir + "/" + single_file(stem), shards[0]);
    return remove_earlier(dir + "/" + index_file(stem));
  }
  std::vector<std::string> names;
  for (size_t i = 0; i < shards.size(); ++i) {
    names.push_back(shard_file(stem, i, shards.size()));
    write_safetensors(dir + "/" + names.back(), shards[i]);
  }
  write_index(dir, stem, names);
  remove_earlier(dir + "/" + single_file(stem));  // readers would prefer it to the index
}

void write_part(const std::string& dir, const std::string& stem, int64_t writer,
                const std::vector<NamedTensor>& tensors, int64_t max_shard_bytes) {
  if (tensors.empty()) return;
  const auto shards = split_into_shards(tensors, max_shard_bytes);
  for (size_t i = 0; i < shards.size(); ++i) {
    write_safetensors(fmt::format("{}/{}{:08}-{:05}", dir, part_prefix(stem), writer, i), shards[i]);
  }
}

void join_parts(const std::string& dir, const std::string& stem) {
  std::error_code error;
  std::vector<std::string> parts, names;
  for (fs::directory_iterator at(dir, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (name.starts_with(part_prefix(stem))) parts.push_back(name);
  }
  std::sort(parts.begin(), parts.end());
  for (size_t i = 0; i < parts.size() && !error; ++i) {
    names.push_back(parts.size() == 1 ? single_file(stem) : shard_file(stem, i, parts.size()));
    fs::rename(dir + "/" + parts[i], dir + "/" + names.back(), error);
  }
  if (error) throw RunError(fmt::format("cannot join the parts of {} in {}: {}", stem, dir, error.message()));
  if (names.size() > 1) write_index(dir, stem, names);
}

}  // namespace natrix
