#include "core/text/own_tokenizer.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/files/json.h"
#include "core/files/mapped_file.h"
#include "core/hf/hf_formats.h"
#include "core/tokenizers/byte_tokenizer_json.h"
#include "core/tokenizers/open_tokenizer.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

constexpr int64_t kEnd = 256;

// Each of these is a tokenizer or its vocabulary; the first decides, as in transformers.
constexpr std::array<const char*, 10> kTokenizers = {
    "tokenizer.json", "tokenizer.model",      "spiece.model", "sentencepiece.bpe.model",
    "tekken.json",    "tiktoken.model",       "vocab.json",   "merges.txt",
    "vocab.txt",      "tokenizer_config.json"};
constexpr std::array<const char*, 4> kBeside = {"special_tokens_map.json", "added_tokens.json",
                                                "chat_template.jinja", "chat_template.json"};

bool is_there(const std::string& path) {
  std::error_code ignored;  // a directory that may not be searched holds nothing for us
  return std::filesystem::exists(path, ignored);
}

OwnTokenizer read_tokenizer_json(const std::string& dir, const std::string& path) {
  const TokenizerJson found = describe_tokenizer_json(read_json_file(path));
  OwnTokenizer own{.kind = found.bytes ? OwnTokenizer::Kind::kBytes : OwnTokenizer::Kind::kJson,
                   .dir = dir,
                   .has_end = found.has_end,
                   .what = fmt::format("{} is {}", path, found.what)};
  const std::vector<int64_t> ends = found.has_end ? read_hf_eos_token_ids(dir) : std::vector<int64_t>();
  if (!ends.empty() && std::find(ends.begin(), ends.end(), kEnd) == ends.end()) {
    own.kind = OwnTokenizer::Kind::kJson;
    own.what += fmt::format(", with an entry {} that is not config.json's eos_token_id", kEnd);
  }
  return own;
}

}  // namespace

OwnTokenizer tokenizer_of(const std::string& dir) {
  for (const std::string name : kTokenizers) {
    const std::string path = dir + "/" + name;
    if (!is_there(path)) continue;
    if (name == kTokenizers[0]) return read_tokenizer_json(dir, path);
    return {
        .kind = OwnTokenizer::Kind::kOther,
        .what = fmt::format("{} {}", path,
                            name == "tokenizer_config.json" ? "speaks of a tokenizer that is not there"
                                                            : "belongs to a tokenizer that is not bytes")};
  }
  return {.what = dir + " has no tokenizer"};
}

bool may_read_text(const OwnTokenizer& own, int64_t vocab_size) {
  switch (own.kind) {
    case OwnTokenizer::Kind::kNone: return vocab_size == kEnd || vocab_size == kEnd + 1;
    case OwnTokenizer::Kind::kBytes:
    case OwnTokenizer::Kind::kJson: return true;
    case OwnTokenizer::Kind::kOther: break;
  }
  return false;
}

std::unique_ptr<Tokenizer> make_own_tokenizer(const OwnTokenizer& own, int64_t vocab_size,
                                              std::string_view advice) {
  if (!may_read_text(own, vocab_size)) {
    throw InputError(
        fmt::format("{}, and {}: {}", own.what,
                    own.kind == OwnTokenizer::Kind::kNone
                        ? fmt::format("its vocabulary of {} is not that of bytes (256 or 257)", vocab_size)
                        : "natrix reads tokenizers from tokenizer.json",
                    advice));
  }
  if (own.kind == OwnTokenizer::Kind::kJson) {
    try {
      if (own.files.empty()) return make_tokenizer(own.dir, vocab_size);
      return make_tokenizer_of(own.files, own.what);
    } catch (const InputError& e) {
      throw InputError(fmt::format("{}: {}", e.what(), advice));
    }
  }
  const bool endless = own.kind == OwnTokenizer::Kind::kBytes && !own.has_end && vocab_size > kEnd;
  return make_tokenizer("bytes", endless ? kEnd : vocab_size);
}

std::map<std::string, std::string> tokenizer_files(const std::string& dir) {
  std::map<std::string, std::string> files;
  const auto take = [&](const std::string& name) {
    if (is_there(dir + "/" + name)) files[name] = MappedFile(dir + "/" + name).text();
  };
  for (const char* name : kTokenizers) take(name);
  for (const char* name : kBeside) take(name);
  return files;
}

}  // namespace natrix
