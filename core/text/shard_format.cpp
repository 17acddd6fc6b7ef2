#include "core/text/shard_format.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/files/atomic_file.h"
#include "core/files/json.h"
#include "core/files/xxhash64.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "shards are little-endian and read as they lie");

int64_t most_ids(int64_t token_bytes) {
  return int64_t{1} << (8 * token_bytes);
}

ShardEntry read_entry(const JsonObject& shard, const std::string& dir, int64_t most_tokens, bool marked) {
  const std::string file = shard.text("file");
  // An index that came from elsewhere must not make us read outside of its directory.
  if (file.empty() || file.starts_with('.') || file.find('/') != std::string::npos) {
    shard.fail("file", "the name of a file beside the index");
  }
  return {(fs::path(dir) / file).string(), shard.integer("tokens", 1, most_tokens), shard.text("xxh3"),
          marked ? shard.text("marks_xxh3") : ""};
}

template <class Stored>
void widen(const unsigned char* stored, int64_t count, int64_t* tokens) {
  for (int64_t i = 0; i < count; ++i) {
    Stored token;
    std::memcpy(&token, stored + i * int64_t{sizeof token}, sizeof token);
    tokens[i] = token;
  }
}

template <class Stored>
void narrow(const int64_t* tokens, int64_t count, unsigned char* stored) {
  for (int64_t i = 0; i < count; ++i) {
    const auto token = static_cast<Stored>(tokens[i]);
    std::memcpy(stored + i * int64_t{sizeof token}, &token, sizeof token);
  }
}

}  // namespace

void fail_shard(const std::string& path, const std::string& what) {
  throw InputError(fmt::format("{}: {}; make the shards again with natrix data", path, what));
}

ShardIndex read_shard_index(const std::string& dir) {
  const std::string path = (fs::path(dir) / "index.json").string();
  if (!fs::exists(path)) fail_shard(path, "is missing, so the shards beside it are not complete");
  const auto parsed = read_json_file(path);
  const JsonObject json(parsed, path);
  if (json.text("format") != kShardFormat) json.fail("format", fmt::format("\"{}\"", kShardFormat));
  const int64_t version = json.integer("version", kShardVersion, kMarkedVersion);

  ShardIndex index;
  auto& summary = index.summary;
  summary.marked = version == kMarkedVersion;
  summary.tokenizer = json.text("tokenizer");
  summary.tokenizer_identity = json.text("tokenizer_identity", summary.tokenizer);
  summary.token_bytes = json.integer("token_bytes", 2, 4);
  if (summary.token_bytes == 3) json.fail("token_bytes", "2 or 4");
  summary.vocab_size = json.integer("vocab_size", 1, most_ids(summary.token_bytes));
  summary.eod = json.integer("eod", 0, summary.vocab_size - 1);
  summary.tokens = json.integer("tokens", 1, INT64_MAX);
  summary.documents = json.integer("documents", 1, INT64_MAX);
  summary.text_bytes = json.integer("text_bytes", 0, INT64_MAX);

  const auto& shards = json.at("shards");
  if (!shards.is_array() || shards.empty()) json.fail("shards", "a list of shards");
  int64_t left = summary.tokens;
  for (const auto& shard : shards) {
    const auto place = fmt::format("shards[{}].", index.shards.size());
    index.shards.push_back(read_entry(JsonObject(shard, path, place), dir, left, summary.marked));
    left -= index.shards.back().tokens;
  }
  if (left != 0) fail_shard(path, fmt::format("its shards lack {} of its {} tokens", left, summary.tokens));
  summary.shards = static_cast<int64_t>(index.shards.size());
  return index;
}

void write_shard_index(const std::string& path, const ShardIndex& index,
                       const std::vector<std::string>& sources) {
  using Json = nlohmann::ordered_json;
  const auto& summary = index.summary;
  Json json = {{"format", kShardFormat},
               {"version", summary.marked ? kMarkedVersion : kShardVersion},
               {"tokenizer", summary.tokenizer},
               {"tokenizer_identity", summary.tokenizer_identity},
               {"vocab_size", summary.vocab_size},
               {"eod", summary.eod},
               {"token_bytes", summary.token_bytes},
               {"tokens", summary.tokens},
               {"documents", summary.documents},
               {"text_bytes", summary.text_bytes},
               {"sources", sources},
               {"shards", Json::array()}};
  for (const auto& shard : index.shards) {
    json["shards"].push_back(
        {{"file", fs::path(shard.path).filename().string()}, {"tokens", shard.tokens}, {"xxh3", shard.xxh3}});
  }
  if (summary.tokenizer_identity == summary.tokenizer) json.erase("tokenizer_identity");
  for (size_t i = 0; i < index.shards.size() && summary.marked; ++i)
    json["shards"][i]["marks_xxh3"] = index.shards[i].marks_xxh3;
  // A path need not be UTF-8; JSON must be.
  write_file(path, json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

ShardEntry write_shard_file(const std::string& path, const std::vector<unsigned char>& stored,
                            const ShardSummary& summary) {
  const auto bytes = static_cast<int64_t>(stored.size());
  Xxhash64 hash;
  hash.add(stored.data(), bytes);
  ShardEntry shard{path, bytes / summary.token_bytes, hash.hex(), ""};
  const ShardHeader header = make_header(shard, summary);
  AtomicFile file(path);
  file.reserve(int64_t{sizeof header} + bytes);
  file.write_at(0, &header, sizeof header);
  file.write_at(sizeof header, stored.data(), bytes);
  file.commit();
  return shard;
}

std::string marks_path(const std::string& shard_path) {
  return fs::path(shard_path).replace_extension(".marks").string();
}

ShardHeader make_header(const ShardEntry& shard, const ShardSummary& summary) {
  ShardHeader header = {};
  kShardMagic.copy(header.magic, sizeof header.magic);
  header.version = static_cast<uint32_t>(kShardVersion);
  header.token_bytes = static_cast<uint32_t>(summary.token_bytes);
  header.tokens = shard.tokens;
  header.vocab_size = summary.vocab_size;
  header.eod = summary.eod;
  shard.xxh3.copy(header.xxh3, sizeof header.xxh3);
  return header;
}

void check_header(const ShardHeader& header, int64_t file_size, const ShardEntry& shard,
                  const ShardSummary& summary) {
  const int64_t payload = file_size - int64_t{sizeof header};
  if (payload < 0)
    fail_shard(shard.path, fmt::format("is {} bytes long, shorter than its header", file_size));
  if (std::string_view(header.magic, sizeof header.magic) != kShardMagic) {
    fail_shard(shard.path, fmt::format("does not start with {}", kShardMagic));
  }
  const auto expect = [&](const char* field, int64_t found, int64_t expected) {
    if (found != expected)
      fail_shard(shard.path, fmt::format("its {} is {}; expected {}", field, found, expected));
  };
  expect("format version", header.version, kShardVersion);
  expect("bytes per token", header.token_bytes, summary.token_bytes);
  expect("vocabulary", header.vocab_size, summary.vocab_size);
  expect("end of document", header.eod, summary.eod);
  expect("number of tokens", header.tokens, shard.tokens);
  if (std::string_view(header.xxh3, sizeof header.xxh3) != shard.xxh3) {
    fail_shard(shard.path, "its checksum is not the one in index.json");
  }
  // Divided, not multiplied: the count may be anything.
  if (payload % summary.token_bytes != 0 || payload / summary.token_bytes != shard.tokens) {
    fail_shard(shard.path, fmt::format("has {} bytes after its header; expected {} tokens of {} bytes",
                                       payload, shard.tokens, summary.token_bytes));
  }
}

int64_t token_bytes_for(int64_t vocab_size) {
  return vocab_size <= most_ids(2) ? 2 : 4;
}

void widen_tokens(const unsigned char* stored, int64_t token_bytes, int64_t count, int64_t* tokens) {
  token_bytes == 2 ? widen<uint16_t>(stored, count, tokens) : widen<uint32_t>(stored, count, tokens);
}

void narrow_tokens(const int64_t* tokens, int64_t token_bytes, int64_t count, unsigned char* stored) {
  token_bytes == 2 ? narrow<uint16_t>(tokens, count, stored) : narrow<uint32_t>(tokens, count, stored);
}

}  // namespace natrix
