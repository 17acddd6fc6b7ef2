#include "core/text/cache_writer.h"

#include <filesystem>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/files/atomic_file.h"
#include "core/files/json.h"
#include "core/files/xxhash64.h"
#include "core/text/source_files.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

namespace fs = std::filesystem;

constexpr const char* kParts = "parts.json";
constexpr const char* kPartsFormat = "natrix-cache-parts";

std::string shard_path(const std::string& dir, size_t number) {
  return fmt::format("{}/shard-{:05}.bin", dir, number);
}

}  // namespace

CacheWriter::CacheWriter(std::string dir, const Tokenizer& tokenizer, int64_t part_tokens, bool marked)
    : dir_(std::move(dir)), part_tokens_(part_tokens) {
  require(part_tokens > 0, "a part of no tokens");
  index_.summary = {.tokenizer = tokenizer.name(),
                    .tokenizer_identity = tokenizer.identity(),
                    .vocab_size = tokenizer.vocab_size(),
                    .eod = tokenizer.eod(),
                    .token_bytes = token_bytes_for(tokenizer.vocab_size()),
                    .marked = marked};
  if (!resume()) start_again();
}

/// Reads parts.json. False if there is none, or if it is not of this entry.
bool CacheWriter::resume() {
  const std::string path = dir_ + "/" + kParts;
  if (!fs::exists(path)) return false;
  try {
    const nlohmann::json parsed = read_json_file(path);
    const JsonObject json(parsed, path);
    if (json.text("format") != kPartsFormat) return false;
    ShardIndex index = index_;
    const nlohmann::json& shards = json.at("shards");
    if (!shards.is_array()) return false;
    for (const auto& entry : shards) {
      const JsonObject shard(entry, path, "shards.");
      index.shards.push_back({shard_path(dir_, index.shards.size()), shard.integer("tokens", 1, INT64_MAX),
                              shard.text("xxh3"), index.summary.marked ? shard.text("marks_xxh3") : ""});
      const SourceFile file(index.shards.back().path);
      ShardHeader header = {};
      file.read(0, std::min(file.size(), int64_t{sizeof header}), &header);
      check_header(header, file.size(), index.shards.back(), index.summary);
      if (index.summary.marked && SourceFile(marks_path(file.path())).size() != index.shards.back().tokens)
        return false;
      index.summary.tokens += index.shards.back().tokens;
    }
    index.summary.documents = json.integer("documents", 0, INT64_MAX);
    index.summary.text_bytes = json.integer("text_bytes", 0, INT64_MAX);
    position_ = {.file = json.integer("file", 0, INT64_MAX),
                 .offset = json.integer("offset", 0, INT64_MAX),
                 .line = json.integer("line", 0, INT64_MAX),
                 .inside = json.boolean("inside")};
    learns_end_ = json.boolean("learns_end");
    index_ = std::move(index);
    return true;
  } catch (const std::runtime_error&) {  // nobody needs to repair what can be made again
    return false;
  }
}

void CacheWriter::start_again() {
  position_ = {};
  for (const auto& entry : fs::directory_iterator(dir_)) fs::remove_all(entry.path());
}

void CacheWriter::append_separator() {
  const auto width = static_cast<size_t>(index_.summary.token_bytes);
  stored_.resize(stored_.size() + width);
  narrow_tokens(&index_.summary.eod, index_.summary.token_bytes, 1, stored_.data() + stored_.size() - width);
  marks_.push_back(learns_end_ ? kStartsDocument | kIsLearnt : kStartsDocument);
}

void CacheWriter::add(const TokenPiece& piece) {
  ShardSummary& summary = index_.summary;
  if (piece.starts_document) {
    append_separator();
    ++summary.documents;
  }
  const auto count = static_cast<int64_t>(piece.ids.size());
  const size_t had = stored_.size();
  stored_.resize(had + static_cast<size_t>(count * summary.token_bytes));
  narrow_tokens(piece.ids.data(), summary.token_bytes, count, stored_.data() + had);
  for (size_t i = 0; i < piece.ids.size(); ++i)
    marks_.push_back(piece.loss.empty() || piece.loss[i] != 0 ? kIsLearnt : 0);
  learns_end_ = piece.learns_end;
  summary.text_bytes += piece.text_bytes;
  position_ = piece.after;
  if (static_cast<int64_t>(stored_.size()) >= part_tokens_ * summary.token_bytes) {
    write_part();
    write_parts();
  }
}

void CacheWriter::write_part() {
  index_.shards.push_back(write_shard_file(shard_path(dir_, index_.shards.size()), stored_, index_.summary));
  ShardEntry& shard = index_.shards.back();
  if (index_.summary.marked) {
    const std::string_view bytes(reinterpret_cast<const char*>(marks_.data()), marks_.size());
    Xxhash64 hash;
    hash.add(bytes);
    shard.marks_xxh3 = hash.hex();
    write_file(marks_path(shard.path), bytes);
  }
  index_.summary.tokens += shard.tokens;
  stored_.clear();
  marks_.clear();
}

/// Says that the shards so far are complete, and where the next one begins.
void CacheWriter::write_parts() const {
  nlohmann::ordered_json json = {{"format", kPartsFormat},
                                 {"file", position_.file},
                                 {"offset", position_.offset},
                                 {"line", position_.line},
                                 {"inside", position_.inside},
                                 {"learns_end", learns_end_},
                                 {"documents", index_.summary.documents},
                                 {"text_bytes", index_.summary.text_bytes},
                                 {"shards", nlohmann::json::array()}};
  for (const ShardEntry& shard : index_.shards)
    json["shards"].push_back(
        {{"tokens", shard.tokens}, {"xxh3", shard.xxh3}, {"marks_xxh3", shard.marks_xxh3}});
  write_file(dir_ + "/" + kParts, json.dump(1) + "\n");
}

void CacheWriter::forget_parts(const std::string& dir) {
  std::error_code ignored;
  fs::remove(dir + "/" + kParts, ignored);
}

void CacheWriter::finish(const std::vector<std::string>& sources) {
  append_separator();
  write_part();  // not in parts.json: a writer that goes on from there makes this shard again
  index_.summary.shards = static_cast<int64_t>(index_.shards.size());
  write_shard_index(dir_ + "/index.json", index_, sources);
  sync_directory(dir_);
}

}  // namespace natrix
