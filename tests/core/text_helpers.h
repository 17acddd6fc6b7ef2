// Files and random documents for the tests of core/text.
#pragma once

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
