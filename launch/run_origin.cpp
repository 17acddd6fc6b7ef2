#include "launch/run_origin.h"

#include <filesystem>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/files/atomic_file.h"
#include "core/files/json.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

constexpr const char* kRunFormat = "natrix-run";
constexpr int64_t kRunVersion = 1;

nlohmann::ordered_json json_of(const DataIdentity& data) {
  nlohmann::ordered_json j = {
      {"files", data.count}, {"bytes", data.bytes}, {"hashed", data.hashed}, {"digest", data.digest}};
  for (const auto& f : data.files)
    j["list"].push_back({{"file", f.name}, {"bytes", f.size}, {"modified", f.modified}, {"hash", f.hash}});
  return j;
}

DataIdentity data_from(const JsonObject& j) {
  DataIdentity data{.count = j.integer("files", 0, INT64_MAX),
                    .bytes = j.integer("bytes", 0, INT64_MAX),
                    .hashed = j.integer("hashed", 1, INT64_MAX),
                    .digest = j.text("digest"),
                    .files = {}};
  if (!j.has("list")) return data;
  const nlohmann::json& list = j.at("list");
  if (!list.is_array()) j.fail("list", "a list of files");
  for (const auto& entry : list) {
    const JsonObject f(entry, j.origin(), "list.");
    data.files.push_back({f.text("file"), f.integer("bytes", 0, INT64_MAX),
                          f.integer("modified", INT64_MIN, INT64_MAX), f.text("hash")});
  }
  return data;
}

RunOrigin origin_from(const nlohmann::json& parsed, const std::string& path) {
  const JsonObject j(parsed, path);
  if (j.text("format") != kRunFormat) j.fail("format", fmt::format("\"{}\"", kRunFormat));
  j.integer("version", kRunVersion, kRunVersion);
  const JsonObject config = j.object("config"), data = j.object("data");
  RunOrigin origin{.config_file = config.text("file"), .config_hash = config.text("xxh3"), .data = {}};
  for (const char* key : {"data.train", "data.eval", "data.batches"}) {
    if (data.has(key)) origin.data[key] = data_from(data.object(key));
  }
  return origin;
}

}  // namespace

std::optional<RunOrigin> read_run_origin(const std::string& path) {
  if (!std::filesystem::exists(path)) return std::nullopt;
  try {
    return origin_from(read_json_file(path), path);
  } catch (const InputError& e) {
    throw InputError(fmt::format("{}; remove the file to go on without what it says", e.what()));
  }
}

void write_run_origin(const std::string& path, const RunOrigin& origin) {
  using Json = nlohmann::ordered_json;
  Json data = Json::object();
  for (const auto& [key, identity] : origin.data) data[key] = json_of(identity);
  const Json json = {{"format", kRunFormat},
                     {"version", kRunVersion},
                     {"config", {{"file", origin.config_file}, {"xxh3", origin.config_hash}}},
                     {"data", data}};
  // JSON must be UTF-8, but a path may contain any bytes.
  write_file(path, json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace natrix
