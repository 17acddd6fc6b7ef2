#include "tests/launch/spoil.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct SafetensorsParts {
  json header;
  std::string data;

  static SafetensorsParts read(const std::string& path) {
    const std::string bytes = read_file(path);
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    return {json::parse(bytes.substr(8, length)), bytes.substr(8 + length)};
  }
  void write(const std::string& path) const {
    const std::string text = header.dump();
    const uint64_t length = text.size();
    write_file(path, std::string(reinterpret_cast<const char*>(&length), 8) + text + data);
  }
};

/// The tensors that `keep` takes, closed up.
SafetensorsParts part_of(const SafetensorsParts& whole, const std::function<bool(const std::string&)>& keep) {
  SafetensorsParts part{json::object(), ""};
  for (const auto& [name, entry] : whole.header.items()) {
    if (name == "__metadata__" || !keep(name)) continue;
    const auto begin = entry["data_offsets"][0].get<size_t>(), end = entry["data_offsets"][1].get<size_t>();
    part.header[name] = entry;
    part.header[name]["data_offsets"] = {part.data.size(), part.data.size() + end - begin};
    part.data += whole.data.substr(begin, end - begin);
  }
  return part;
}

void must_succeed(const Outcome& outcome) {
  if (outcome.status != 0) throw std::runtime_error("the good files cannot be made: " + outcome.err);
}

void make_good_files(const TinyRun& tiny, const std::string& files) {
  fs::create_directory(files);
  fs::copy(tiny.config(), files + "/train.yaml");
  fs::copy(tiny / "text.txt", files + "/text.txt");
  must_succeed(tiny.train("run", {"train.steps=2", "optimizer.warmup_steps=1"}));
  for (const std::string name : {"/model", "/other"}) {
    fs::copy(tiny / "run/checkpoints/step-00000002", files + name, fs::copy_options::recursive);
  }
  flip_bit("other/model.safetensors")(files);
  tokens("I64", {1, 9})(files);
  must_succeed(natrix_program(
      {"generate", files + "/model", "-p", "In the", "-n", "0", "--state-out", files + "/prefix.state"}));
}

}  // namespace

const std::string& good_files() {
  static const TinyRun tiny;
  static const std::string files = [] {
    make_good_files(tiny, tiny / "good");
    return tiny / "good";
  }();
  return files;
}

Spoil replace(const std::string& file, const std::string& from, const std::string& to) {
  return [=](const std::string& dir) {
    std::string text = read_file(dir + "/" + file);
    const size_t at = text.find(from);
    if (at == std::string::npos) throw std::logic_error(file + " has no " + from);
    write_file(dir + "/" + file, text.replace(at, from.size(), to));
  };
}

Spoil yaml(const std::string& from, const std::string& to) {
  return replace("train.yaml", from, to);
}

Spoil put(const std::string& file, const std::string& content) {
  return [=](const std::string& dir) { write_file(dir + "/" + file, content); };
}

Spoil remove(const std::string& file) {
  return [=](const std::string& dir) { fs::remove_all(dir + "/" + file); };
}

Spoil truncate(const std::string& file, int64_t bytes) {
  return [=](const std::string& dir) {
    const std::string path = dir + "/" + file;
    fs::resize_file(path, fs::file_size(path) - static_cast<uintmax_t>(bytes));
  };
}

Spoil flip_bit(const std::string& file) {
  return [=](const std::string& dir) {
    std::string bytes = read_file(dir + "/" + file);
    bytes[bytes.size() / 2] ^= 1;
    write_file(dir + "/" + file, bytes);
  };
}

Spoil config(const std::string& key, const json& value) {
  return [=](const std::string& dir) {
    json c = json::parse(read_file(dir + "/model/config.json"));
    c[key] = value;
    write_file(dir + "/model/config.json", c.dump());
  };
}

Spoil header(const std::function<void(json&)>& edit) {
  return [=](const std::string& dir) {
    auto file = SafetensorsParts::read(dir + "/model/model.safetensors");
    edit(file.header);
    file.write(dir + "/model/model.safetensors");
  };
}

Spoil header_of(const std::string& file, uint64_t claimed, const std::string& text) {
  return put(file, std::string(reinterpret_cast<const char*>(&claimed), 8) + text);
}

Spoil tokens(const std::string& dtype, const std::vector<int64_t>& shape, int64_t value) {
  return [=](const std::string& dir) {
    int64_t count = 1;
    for (int64_t extent : shape) count *= extent;
    const size_t size = dtype == "I64" ? 8 : 4;
    SafetensorsParts file;
    for (int64_t i = 0; i < count; ++i) file.data += std::string(reinterpret_cast<const char*>(&value), size);
    file.header["tokens"] = {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {0, file.data.size()}}};
    file.write(dir + "/tokens.safetensors");
  };
}

Spoil sharded(const std::function<void(json&)>& edit) {
  return [=](const std::string& dir) {
    const std::string model = dir + "/model/";
    const auto whole = SafetensorsParts::read(model + "model.safetensors");
    json index = {{"metadata", json::object()}, {"weight_map", json::object()}};
    for (const std::string shard : {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}) {
      const bool experts = shard.find("00001-") != std::string::npos;
      const auto part = part_of(whole, [&](const std::string& name) {
        return (name.find("experts") != std::string::npos) == experts;
      });
      for (const auto& [name, entry] : part.header.items()) index["weight_map"][name] = shard;
      part.write(model + shard);
    }
    fs::remove(model + "model.safetensors");
    edit(index);
    write_file(model + "model.safetensors.index.json", index.dump());
  };
}

Spoil both(Spoil first, Spoil second) {
  return [=](const std::string& dir) {
    first(dir);
    second(dir);
  };
}

}  // namespace natrix::test
