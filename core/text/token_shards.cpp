#include "core/text/token_shards.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <nlohmann/json.hpp>
#include <xxhash.h>

#include "core/io/atomic_file.h"
#include "core/io/mapped_file.h"
#include "core/text/source_files.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "shards are little-endian and read as they lie");

constexpr const char* kFormat = "natrix-token-shards";
constexpr int64_t kVersion = 1;
constexpr char kMagic[8] = {'N', 'A', 'T', 'R', 'I', 'X', 'T', 'K'};

struct ShardHeader {
  char magic[8];
  uint32_t version;
  uint32_t token_bytes;  // 2 or 4
  int64_t tokens;
  int64_t vocab_size;
  int64_t eod;
  uint64_t checksum;  // XXH3, 64 bits, of the payload
  uint8_t reserved[16];
};
static_assert(sizeof(ShardHeader) == 64);

struct ShardEntry {
  std::string path;
  int64_t tokens;
  uint64_t checksum;
};

struct ShardIndex {
  ShardSummary summary;
  std::vector<ShardEntry> shards;
};

[[noreturn]] void fail(const std::string& path, const std::string& what) {
  throw InputError(fmt::format("{}: {}; make the shards again with natrix data", path, what));
}

int64_t widest_vocab(int64_t token_bytes) {
  return int64_t{1} << (8 * token_bytes);
}

// ---- index.json
// -----------------------------------------------------------------------------------------------------

class IndexReader {
 public:
  explicit IndexReader(const std::string& dir) : dir_(dir), path_((fs::path(dir) / "index.json").string()) {}

  ShardIndex read() {
    if (!fs::exists(path_)) fail(path_, "is missing, so the shards beside it are not complete");
    const MappedFile file(path_);
    const auto json = nlohmann::json::parse(file.text(), nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) fail(path_, "is not a JSON object");
    if (text(json, "format") != kFormat) fail(path_, fmt::format("\"format\" is not \"{}\"", kFormat));
    integer(json, "version", kVersion, kVersion);

    ShardIndex index;
    auto& summary = index.summary;
    summary.tokenizer = text(json, "tokenizer");
    summary.token_bytes = integer(json, "token_bytes", 2, 4);
    if (summary.token_bytes == 3) fail(path_, "\"token_bytes\" is 3; expected 2 or 4");
    summary.vocab_size = integer(json, "vocab_size", 1, widest_vocab(summary.token_bytes));
    summary.eod = integer(json, "eod", 0, summary.vocab_size - 1);
    summary.tokens = integer(json, "tokens", 1, INT64_MAX);
    summary.documents = integer(json, "documents", 1, INT64_MAX);
    summary.text_bytes = integer(json, "text_bytes", 0, INT64_MAX);

    const auto& shards = member(json, "shards");
    if (!shards.is_array() || shards.empty()) fail(path_, "\"shards\" is not a list of shards");
    int64_t left = summary.tokens;
    for (const auto& shard : shards) {
      if (!shard.is_object()) fail(path_, "\"shards\" holds something that is not an object");
      index.shards.push_back(entry(shard, left));
      left -= index.shards.back().tokens;
    }
    if (left != 0) fail(path_, fmt::format("its shards lack {} of its {} tokens", left, summary.tokens));
    summary.shards = static_cast<int64_t>(index.shards.size());
    return index;
  }

 private:
  using Json = nlohmann::json;

  const Json& member(const Json& object, const char* key) const {
    const auto found = object.find(key);
    if (found == object.end()) fail(path_, fmt::format("\"{}\" is missing", key));
    return *found;
  }

  std::string text(const Json& object, const char* key) const {
    const auto& value = member(object, key);
    if (!value.is_string()) fail(path_, fmt::format("\"{}\" is not a string", key));
    return value.get<std::string>();
  }

  int64_t integer(const Json& object, const char* key, int64_t least, int64_t most) const {
    const auto& value = member(object, key);
    const bool fits =
        value.is_number_integer() && (!value.is_number_unsigned() || value.get<uint64_t>() <= INT64_MAX);
    if (!fits || value.get<int64_t>() < least || value.get<int64_t>() > most) {
      fail(path_,
           fmt::format("\"{}\" is {}; expected an integer from {} to {}", key, value.dump(), least, most));
    }
    return value.get<int64_t>();
  }

  ShardEntry entry(const Json& shard, int64_t most_tokens) const {
    const std::string file = text(shard, "file");
    // A plain name: an index that came from elsewhere must not make us read outside of its directory.
    if (file.empty() || file.starts_with('.') || file.find('/') != std::string::npos) {
      fail(path_, fmt::format("\"file\" is \"{}\"; expected the name of a file beside the index", file));
    }
    const std::string hex = text(shard, "xxh3");
    char* end = nullptr;
    const uint64_t checksum = std::strtoull(hex.c_str(), &end, 16);
    if (hex.size() != 16 || *end != '\0')
      fail(path_, fmt::format("\"xxh3\" is \"{}\"; expected 16 hex digits", hex));
    return {(fs::path(dir_) / file).string(), integer(shard, "tokens", 1, most_tokens), checksum};
  }

  std::string dir_, path_;
};

void write_index(const std::string& path, const ShardIndex& index, const std::vector<std::string>& sources) {
  using Json = nlohmann::ordered_json;
  const auto& summary = index.summary;
  Json json = {{"format", kFormat},
               {"version", kVersion},
               {"tokenizer", summary.tokenizer},
               {"vocab_size", summary.vocab_size},
               {"eod", summary.eod},
               {"token_bytes", summary.token_bytes},
               {"tokens", summary.tokens},
               {"documents", summary.documents},
               {"text_bytes", summary.text_bytes},
               {"sources", sources},
               {"shards", Json::array()}};
  for (const auto& shard : index.shards) {
    json["shards"].push_back({{"file", fs::path(shard.path).filename().string()},
                              {"tokens", shard.tokens},
                              {"xxh3", fmt::format("{:016x}", shard.checksum)}});
  }
  // A path need not be UTF-8; JSON must be.
  write_file(path, json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

// ---- reading
// --------------------------------------------------------------------------------------------------------

/// A header that agrees with the index and with the file's size.
void check_header(const ShardHeader& header, int64_t file_size, const ShardEntry& shard,
                  const ShardSummary& summary) {
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) fail(shard.path, "does not start with NATRIXTK");
  const auto expect = [&](const char* field, int64_t found, int64_t expected) {
    if (found != expected) fail(shard.path, fmt::format("its {} is {}; expected {}", field, found, expected));
  };
  expect("format version", header.version, kVersion);
  expect("bytes per token", header.token_bytes, summary.token_bytes);
  expect("vocabulary", header.vocab_size, summary.vocab_size);
  expect("end of document", header.eod, summary.eod);
  expect("number of tokens", header.tokens, shard.tokens);
  const int64_t payload = file_size - static_cast<int64_t>(sizeof header);
  if (payload / summary.token_bytes != shard.tokens || payload % summary.token_bytes != 0) {
    fail(shard.path, fmt::format("holds {} bytes of tokens; {} tokens take {} each", payload, shard.tokens,
                                 summary.token_bytes));
  }
}

ShardHeader read_header(const char* bytes, int64_t file_size, const std::string& path) {
  ShardHeader header;
  if (file_size < static_cast<int64_t>(sizeof header)) {
    fail(path, fmt::format("is {} bytes long, shorter than a header", file_size));
  }
  std::memcpy(&header, bytes, sizeof header);
  return header;
}

template <class Stored>
void widen(const unsigned char* from, int64_t count, int64_t* to) {
  for (int64_t i = 0; i < count; ++i) {
    Stored token;
    std::memcpy(&token, from + i * int64_t{sizeof token}, sizeof token);
    to[i] = token;
  }
}

class ShardCorpus final : public Corpus {
 public:
  ShardCorpus(std::string dir, ShardIndex index, const Tokenizer& tokenizer)
      : dir_(std::move(dir)), summary_(std::move(index.summary)) {
    for (const auto& shard : index.shards) {
      const int64_t file_size = files_.add(shard.path);
      char bytes[sizeof(ShardHeader)] = {};
      files_.read(files_.count() - 1, 0, std::min<int64_t>(file_size, sizeof bytes), bytes);
      check_header(read_header(bytes, file_size, shard.path), file_size, shard, summary_);
      starts_.push_back(size_);
      size_ += shard.tokens;
    }
    for (int64_t id = 0; id < summary_.vocab_size; ++id) {
      text_bytes_of_.push_back(static_cast<int64_t>(tokenizer.decode({&id, 1}).size()));
    }
  }

  std::string name() const override { return dir_; }
  int64_t size() const override { return size_; }
  int64_t documents() const override { return summary_.documents; }
  int64_t eod() const override { return summary_.eod; }

  void read(int64_t begin, int64_t count, int64_t* tokens, uint8_t* starts) const override {
    require(begin >= 0 && count >= 0 && begin + count <= size_, "tokens outside of the corpus");
    int64_t done = 0;
    for (size_t shard = shard_at(begin); done < count; ++shard) {
      const int64_t offset = begin + done - starts_[shard];
      const int64_t end = shard + 1 < starts_.size() ? starts_[shard + 1] : size_;
      const int64_t here = std::min(count - done, end - (begin + done));
      read_shard(shard, offset, here, tokens + done);
      done += here;
    }
    if (starts == nullptr) return;
    for (int64_t i = 0; i < count; ++i) starts[i] = tokens[i] == summary_.eod ? 1 : 0;
  }

  int64_t text_bytes(int64_t begin, int64_t count) const override {
    std::vector<int64_t> tokens(static_cast<size_t>(std::min(count, kScanTokens)));
    int64_t bytes = 0;
    while (count > 0) {
      const int64_t here = std::min(count, kScanTokens);
      read(begin, here, tokens.data(), nullptr);
      for (int64_t i = 0; i < here; ++i) {
        bytes += text_bytes_of_[static_cast<size_t>(tokens[static_cast<size_t>(i)])];
      }
      begin += here;
      count -= here;
    }
    return bytes;
  }

 private:
  static constexpr int64_t kScanTokens = 1 << 20;

  size_t shard_at(int64_t position) const {
    return static_cast<size_t>(std::upper_bound(starts_.begin(), starts_.end(), position) - starts_.begin() -
                               1);
  }

  void read_shard(size_t shard, int64_t offset, int64_t count, int64_t* tokens) const {
    const int64_t width = summary_.token_bytes;
    // As in a corpus of files, the stored tokens land at the end of the memory that they are widened into.
    auto* stored = reinterpret_cast<unsigned char*>(tokens) + (int64_t{sizeof(int64_t)} - width) * count;
    files_.read(shard, int64_t{sizeof(ShardHeader)} + offset * width, count * width, stored);
    width == 2 ? widen<uint16_t>(stored, count, tokens) : widen<uint32_t>(stored, count, tokens);
    for (int64_t i = 0; i < count; ++i) {
      if (tokens[i] < summary_.vocab_size) continue;
      fail(files_.path(shard), fmt::format("token {} is {}, outside of the vocabulary of {}", offset + i,
                                           tokens[i], summary_.vocab_size));
    }
  }

  std::string dir_;
  ShardSummary summary_;
  SourceFiles files_;
  std::vector<int64_t> starts_;         // position of each shard's first token
  std::vector<int64_t> text_bytes_of_;  // by id
  int64_t size_ = 0;
};

// ---- writing
// --------------------------------------------------------------------------------------------------------

/// `dir`.partial until commit() renames it. Only files with names of ours are ever removed.
class PartialDirectory {
 public:
  explicit PartialDirectory(std::string dir) : dir_(std::move(dir)) {
    while (dir_.size() > 1 && dir_.ends_with('/')) dir_.pop_back();
    path_ = dir_ + ".partial";
    std::error_code error;
    if (fs::exists(dir_) && !fs::is_empty(dir_, error)) {
      throw InputError(
          fmt::format("{} exists and is not an empty directory; give another --out, or remove it", dir_));
    }
    remove();  // of an earlier run that was killed
    fs::create_directories(path_, error);
    if (error) throw RunError(fmt::format("cannot make the directory {}: {}", path_, error.message()));
    if (!fs::is_empty(path_)) {
      throw InputError(fmt::format("{} is in the way and holds other files; remove it", path_));
    }
  }
  ~PartialDirectory() {
    if (!path_.empty()) remove();
  }
  PartialDirectory(const PartialDirectory&) = delete;
  PartialDirectory& operator=(const PartialDirectory&) = delete;

  std::string file(const std::string& name) const { return path_ + "/" + name; }

  void commit() {
    std::error_code error;
    fs::rename(path_, dir_, error);
    if (error) throw RunError(fmt::format("cannot rename {} to {}: {}", path_, dir_, error.message()));
    path_.clear();
    const auto parent = fs::path(dir_).parent_path().string();
    sync_directory(parent.empty() ? "." : parent);
  }

 private:
  void remove() noexcept {
    std::error_code error;
    for (auto at = fs::directory_iterator(path_, error); !error && at != fs::directory_iterator();
         at.increment(error)) {
      const auto name = at->path().filename().string();
      std::error_code ignored;  // what cannot be removed is reported by whoever needs the place
      if (name.starts_with("shard-") || name.starts_with("index.json")) fs::remove(at->path(), ignored);
    }
    fs::remove(path_, error);  // fails where anything else is left
  }

  std::string dir_, path_;
};

class HashState {
 public:
  HashState() : state_(XXH3_createState()) { XXH3_64bits_reset(state_); }
  ~HashState() { XXH3_freeState(state_); }
  HashState(const HashState&) = delete;
  HashState& operator=(const HashState&) = delete;
  void add(const void* data, int64_t bytes) { XXH3_64bits_update(state_, data, static_cast<size_t>(bytes)); }
  uint64_t value() const { return XXH3_64bits_digest(state_); }

 private:
  XXH3_state_t* state_;
};

template <class Stored>
std::vector<unsigned char> narrow(const std::vector<int64_t>& tokens, int64_t count) {
  std::vector<unsigned char> stored(static_cast<size_t>(count) * sizeof(Stored));
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    const auto token = static_cast<Stored>(tokens[i]);
    std::memcpy(stored.data() + i * sizeof token, &token, sizeof token);
  }
  return stored;
}

/// Tokens [begin, begin + count) of the corpus as one file.
ShardEntry write_shard(const Corpus& corpus, const ShardSummary& summary, int64_t begin, int64_t count,
                       const std::string& path) {
  constexpr int64_t kStep = 1 << 20;
  std::vector<int64_t> tokens(static_cast<size_t>(std::min(count, kStep)));
  AtomicFile file(path);
  HashState hash;
  for (int64_t done = 0; done < count; done += kStep) {
    const int64_t here = std::min(kStep, count - done);
    corpus.read(begin + done, here, tokens.data(), nullptr);
    const auto stored =
        summary.token_bytes == 2 ? narrow<uint16_t>(tokens, here) : narrow<uint32_t>(tokens, here);
    const auto bytes = static_cast<int64_t>(stored.size());
    hash.add(stored.data(), bytes);
    file.write_at(int64_t{sizeof(ShardHeader)} + done * summary.token_bytes, stored.data(), bytes);
  }
  ShardHeader header = {};
  std::copy_n(kMagic, sizeof kMagic, header.magic);
  header.version = static_cast<uint32_t>(kVersion);
  header.token_bytes = static_cast<uint32_t>(summary.token_bytes);
  header.tokens = count;
  header.vocab_size = summary.vocab_size;
  header.eod = summary.eod;
  header.checksum = hash.value();
  file.write_at(0, &header, sizeof header);
  file.commit();
  return {path, count, header.checksum};
}

}  // namespace

bool is_token_shards(const std::string& dir) {
  // A lone shard-00000.bin counts: a directory that lost its index must not be trained on as if it were text.
  const fs::path base(dir);
  std::error_code error;
  if (fs::is_regular_file(base / "shard-00000.bin", error)) return true;
  std::ifstream index(base / "index.json", std::ios::binary);
  std::string beginning(4096, '\0');
  index.read(beginning.data(), static_cast<std::streamsize>(beginning.size()));
  return beginning.find(kFormat) != std::string::npos;
}

std::unique_ptr<Corpus> open_token_shards(const std::string& dir, const Tokenizer& tokenizer) {
  auto index = IndexReader(dir).read();
  const auto& made = index.summary;
  if (made.tokenizer != tokenizer.name() || made.vocab_size != tokenizer.vocab_size() ||
      made.eod != tokenizer.eod()) {
    throw InputError(
        fmt::format("{} was made with the tokenizer '{}' (vocabulary {}, end of document {}), but '{}' ({}, "
                    "{}) is asked for",
                    dir, made.tokenizer, made.vocab_size, made.eod, tokenizer.name(), tokenizer.vocab_size(),
                    tokenizer.eod()));
  }
  return std::make_unique<ShardCorpus>(dir, std::move(index), tokenizer);
}

ShardSummary write_token_shards(const Corpus& corpus, const Tokenizer& tokenizer,
                                const std::vector<std::string>& sources, const std::string& dir,
                                int64_t shard_tokens) {
  require(corpus.eod() == tokenizer.eod() && corpus.eod() != kNoEod, "token shards need separators");
  require(shard_tokens > 0, "a shard of no tokens");
  PartialDirectory out(dir);
  ShardIndex index;
  auto& summary = index.summary;
  summary.tokenizer = tokenizer.name();
  summary.vocab_size = tokenizer.vocab_size();
  summary.eod = tokenizer.eod();
  summary.token_bytes = summary.vocab_size <= widest_vocab(2) ? 2 : 4;
  summary.tokens = corpus.size();
  summary.documents = corpus.documents();
  summary.text_bytes = corpus.text_bytes(0, corpus.size());
  for (int64_t begin = 0; begin < corpus.size(); begin += shard_tokens) {
    const int64_t count = std::min(shard_tokens, corpus.size() - begin);
    index.shards.push_back(
        write_shard(corpus, summary, begin, count, out.file(fmt::format("shard-{:05}.bin", summary.shards))));
    ++summary.shards;
  }
  write_index(out.file("index.json"), index, sources);
  out.commit();
  return summary;
}

ShardSummary check_token_shards(const std::string& dir) {
  const auto index = IndexReader(dir).read();
  const auto& summary = index.summary;
  int64_t separators = 0;
  std::vector<int64_t> tokens;
  for (const auto& shard : index.shards) {
    const MappedFile file(shard.path);
    const auto header = read_header(file.data(), file.size(), shard.path);
    check_header(header, file.size(), shard, summary);
    const auto* payload = reinterpret_cast<const unsigned char*>(file.data()) + sizeof header;
    const uint64_t checksum = XXH3_64bits(payload, static_cast<size_t>(shard.tokens * summary.token_bytes));
    if (checksum != header.checksum || checksum != shard.checksum) {
      fail(shard.path,
           "its tokens do not have the checksum of its header and index: it was changed or damaged");
    }
    for (int64_t i = 0; i < shard.tokens; ++i) {
      int64_t token = 0;
      summary.token_bytes == 2 ? widen<uint16_t>(payload + 2 * i, 1, &token)
                               : widen<uint32_t>(payload + 4 * i, 1, &token);
      if (token >= summary.vocab_size) {
        fail(shard.path,
             fmt::format("token {} is {}, outside of the vocabulary of {}", i, token, summary.vocab_size));
      }
      separators += token == summary.eod ? 1 : 0;
    }
  }
  if (separators != summary.documents + 1) {
    fail(dir, fmt::format("holds {} ends of document; {} documents have one more than that", separators,
                          summary.documents));
  }
  return summary;
}

}  // namespace natrix
