// Files and random documents for the tests of core/text.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <gtest/gtest.h>
#include <random>
#include <string>
#include <vector>

#include "core/text/corpus.h"
#include "core/tokenizers/tokenizer.h"
#include "kernels/base/buffer.h"
#include "kernels/base/check.h"
#include "tests/files.h"

namespace natrix::test {

using Tokens = std::vector<int64_t>;

inline Tokens row_of(const Buffer& buffer, int64_t row) {
  const int64_t* from = buffer.view().row<int64_t>(row);
  return {from, from + buffer.view().cols()};
}

inline const auto kBytes = make_tokenizer("bytes");

/// Bytes, and an id for each of a few pairs of them: tokens that are not bytes.
class PairTokenizer final : public Tokenizer {
 public:
  std::string name() const override { return "pairs"; }
  int64_t vocab_size() const override { return 257 + static_cast<int64_t>(kPairs.size()); }
  int64_t eod() const override { return 256; }
  std::vector<int64_t> encode(std::string_view text) const override {
    std::vector<int64_t> ids;
    for (size_t at = 0; at < text.size();) {
      const auto pair = std::find(kPairs.begin(), kPairs.end(), text.substr(at, 2));
      ids.push_back(pair == kPairs.end() ? static_cast<unsigned char>(text[at])
                                         : 257 + (pair - kPairs.begin()));
      at += pair == kPairs.end() ? 1 : 2;
    }
    return ids;
  }
  std::string decode(std::span<const int64_t> ids) const override {
    std::string text;
    for (const int64_t id : ids) {
      if (id < 256) text.push_back(static_cast<char>(id));
      if (id > 256) text += kPairs[static_cast<size_t>(id - 257)];
    }
    return text;
  }

 private:
  static constexpr std::array<std::string_view, 4> kPairs = {"th", "e ", "in", "ab"};
};

inline std::string random_bytes(std::mt19937& random, int64_t count) {
  std::string text(static_cast<size_t>(count), '\0');
  for (char& c : text) c = static_cast<char>(random() % 256);
  return text;
}

inline std::vector<std::string> random_documents(std::mt19937& random, int64_t count, int64_t longest) {
  std::vector<std::string> documents;
  for (int64_t i = 0; i < count; ++i) {
    documents.push_back(
        random_bytes(random, static_cast<int64_t>(random() % static_cast<uint64_t>(longest + 1))));
  }
  return documents;
}

/// Writes documents as files whose order of path is their order here; returns the directory.
inline std::string write_documents(const ScratchDir& scratch, const std::string& name,
                                   const std::vector<std::string>& documents) {
  for (size_t i = 0; i < documents.size(); ++i) {
    scratch.write(name + "/" + std::to_string(10000 + i) + ".txt", documents[i]);
  }
  return scratch / name;
}

/// EOD doc1 EOD doc2 EOD … docN EOD, spelt out.
inline std::vector<int64_t> expected_tokens(const std::vector<std::string>& documents) {
  std::vector<int64_t> tokens;
  for (const auto& document : documents) {
    tokens.push_back(256);
    for (const char c : document) tokens.push_back(static_cast<unsigned char>(c));
  }
  tokens.push_back(256);
  return tokens;
}

inline std::vector<int64_t> read_tokens(const Corpus& corpus, int64_t begin, int64_t count) {
  std::vector<int64_t> tokens(static_cast<size_t>(count), -7);
  corpus.read(begin, count, tokens.data(), nullptr);
  return tokens;
}

/// The message of the Error that f throws, checked to hold every one of `parts`.
template <class Error>
void expect_error(const std::function<void()>& f, const std::vector<std::string>& parts) {
  try {
    f();
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    for (const auto& part : parts) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos)
          << "'" << part << "' not in: " << error.what();
    }
  }
}

}  // namespace natrix::test
