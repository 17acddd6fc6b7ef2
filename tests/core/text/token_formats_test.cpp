#include "core/text/token_formats.h"

#include <cstring>

#include "core/text/token_file_corpus.h"
#include "tests/core/text_helpers.h"

namespace natrix::test {
namespace {

template <class T>
std::string raw(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

template <class T>
std::string raw(T value) {
  return raw(std::vector<T>{value});
}

std::string llm_c(int32_t magic, int32_t version, int32_t count, const std::string& tokens) {
  std::vector<int32_t> header(256, 0);
  header[0] = magic;
  header[1] = version;
  header[2] = count;
  return raw(header) + tokens;
}

std::string npy(const std::string& header, const std::string& tokens) {
  return std::string("\x93NUMPY\x01\x00", 8) + raw(static_cast<uint16_t>(header.size())) + header + tokens;
}

std::string npy_of(const std::string& type, const std::string& shape, const std::string& tokens,
                   const std::string& order = "False") {
  return npy("{'descr': '" + type + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }\n", tokens);
}

struct MegatronIndex {
  std::string magic = std::string("MMIDIDX\0\0", 9);
  uint64_t version = 1;
  uint8_t type = 8;
  std::vector<int32_t> lengths = {3, 2, 4};
  std::vector<int64_t> offsets = {0, 6, 10};
  std::vector<int64_t> documents = {0, 2, 3};
  uint64_t sequences = 3;

  std::string bytes() const {
    return magic + raw(version) + raw(type) + raw(sequences) + raw(static_cast<uint64_t>(documents.size())) +
           raw(lengths) + raw(offsets) + raw(documents);
  }
};

class TokenFiles : public ::testing::Test {
 protected:
  Tokens tokens_of(const std::vector<std::string>& paths, const Tokenizer& tokenizer = *kBytes) const {
    const auto corpus = open_corpus(paths, tokenizer);
    return read_tokens(*corpus, 0, corpus->size());
  }
  ScratchDir scratch_;
};

TEST_F(TokenFiles, OfLlmC) {
  const std::vector<uint16_t> narrow = {256, 1, 2, 3, 256, 4};
  const std::vector<uint32_t> wide = {7, 8};
  const auto a = scratch_.write("a.bin", llm_c(20240520, 1, 6, raw(narrow)));
  const auto b = scratch_.write("b.bin", llm_c(20240801, 7, 2, raw(wide)));
  EXPECT_EQ(tokens_of({a}), (Tokens{256, 1, 2, 3, 256, 4, 256}));
  EXPECT_EQ(tokens_of({a, b}), (Tokens{256, 1, 2, 3, 256, 4, 256, 7, 8, 256}));
  EXPECT_EQ(open_corpus({a, b}, *kBytes)->documents(), 3);
  EXPECT_EQ(tokens_of({scratch_.path()}), (Tokens{256, 1, 2, 3, 256, 4, 256, 7, 8, 256}));
  EXPECT_EQ(open_corpus({a, b}, *kBytes)->text_bytes(0, 10), 6);
  EXPECT_EQ(tokens_of({a}, *make_tokenizer("bytes", 300)), tokens_of({a}));
}

TEST_F(TokenFiles, OfNumPy) {
  const std::vector<int64_t> wide = {1, 256, 2, 3, 256, 256};
  const std::vector<uint8_t> bytes = {250, 251, 0, 1};
  EXPECT_EQ(tokens_of({scratch_.write("a.npy", npy_of("<i8", "(6,)", raw(wide)))}),
            (Tokens{256, 1, 256, 2, 3, 256, 256}));
  EXPECT_EQ(tokens_of({scratch_.write("b.npy", npy_of("|u1", "(2, 2)", raw(bytes)))}),
            (Tokens{256, 250, 251, 0, 1, 256}));
  EXPECT_EQ(tokens_of({scratch_ / "a.npy", scratch_ / "b.npy"}),
            (Tokens{256, 1, 256, 2, 3, 256, 256, 250, 251, 0, 1, 256}));
}

TEST_F(TokenFiles, OfMegatronByAnyOfItsNames) {
  const std::vector<uint16_t> tokens = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  scratch_.write("m.idx", MegatronIndex().bytes());
  scratch_.write("m.bin", raw(tokens));
  const Tokens expected = {256, 1, 2, 3, 4, 5, 256, 6, 7, 8, 9, 256};
  for (const std::string name : {"m", "m.idx", "m.bin"})
    EXPECT_EQ(tokens_of({scratch_ / name}), expected) << name;
  EXPECT_EQ(tokens_of({scratch_.path()}), expected);
  EXPECT_EQ(open_corpus({scratch_ / "m"}, *kBytes)->documents(), 2);
  EXPECT_EQ(open_corpus({scratch_ / "m"}, *kBytes)->files().size(), 2u);
}

TEST_F(TokenFiles, OfMegatronWithAppendedEndsOfDocument) {
  const std::vector<uint16_t> tokens = {1, 2, 3, 4, 256, 6, 7, 8, 256};
  scratch_.write("m.idx", MegatronIndex().bytes());
  scratch_.write("m.bin", raw(tokens));
  EXPECT_EQ(tokens_of({scratch_ / "m"}), (Tokens{256, 1, 2, 3, 4, 256, 6, 7, 8, 256}));
}

TEST_F(TokenFiles, AreReadFromAnyPlace) {
  std::mt19937 random(1);
  MegatronIndex index;
  index.lengths.clear();
  index.offsets.clear();
  index.documents = {0};
  index.sequences = 40;
  std::vector<uint16_t> stored;
  Tokens expected;
  for (uint64_t i = 0; i < index.sequences; ++i) {
    index.offsets.push_back(static_cast<int64_t>(2 * stored.size()));
    index.lengths.push_back(static_cast<int32_t>(random() % 6));
    index.documents.push_back(static_cast<int64_t>(i) + 1);
    expected.push_back(256);
    for (int32_t t = 0; t < index.lengths.back(); ++t) {
      stored.push_back(static_cast<uint16_t>(random() % 256));
      expected.push_back(stored.back());
    }
  }
  expected.push_back(256);
  scratch_.write("m.idx", index.bytes());
  scratch_.write("m.bin", raw(stored));
  const auto corpus = open_corpus({scratch_ / "m"}, *kBytes);
  ASSERT_EQ(corpus->size(), static_cast<int64_t>(expected.size()));
  for (size_t begin = 0; begin < expected.size(); ++begin) {
    for (const size_t count : {size_t{0}, size_t{1}, size_t{7}, expected.size() - begin}) {
      if (begin + count > expected.size()) continue;
      Tokens tokens(count);
      std::vector<uint8_t> starts(count, 9);
      corpus->read(static_cast<int64_t>(begin), static_cast<int64_t>(count), tokens.data(), starts.data());
      for (size_t t = 0; t < count; ++t) {
        ASSERT_EQ(tokens[t], expected[begin + t]);
        ASSERT_EQ(starts[t], expected[begin + t] == 256 ? 1 : 0);
      }
    }
  }
}

TEST_F(TokenFiles, WithoutAnEndOfDocumentAreTheTokensAlone) {
  const std::vector<uint8_t> bytes = {1, 2, 3};
  const auto a = scratch_.write("a.npy", npy_of("|u1", "(3,)", raw(bytes)));
  const auto b = scratch_.write("b.npy", npy_of("|u1", "(3,)", raw(bytes)));
  const auto corpus = open_corpus({a, b}, *make_tokenizer("bytes", 256));
  ASSERT_EQ(corpus->size(), 6);
  std::vector<uint8_t> starts(6);
  Tokens tokens(6);
  corpus->read(0, 6, tokens.data(), starts.data());
  EXPECT_EQ(starts, (std::vector<uint8_t>{1, 0, 0, 1, 0, 0}));
}

TEST_F(TokenFiles, RefuseIdsOutsideOfTheVocabulary) {
  std::vector<uint16_t> many(200'000, 5);
  many[100'000] = 300;  // in the middle: found when it is read
  const auto a = scratch_.write("a.bin", llm_c(20240520, 1, 200'000, raw(many)));
  const auto corpus = open_corpus({a}, *kBytes);
  expect_error<InputError>([&] { read_tokens(*corpus, 99'000, 2'000); },
                           {a, "token 100000 is 300", "vocabulary of 257", "'bytes'", "data.tokenizer"});
  const std::vector<int32_t> negative = {1, -1};
  const auto b = scratch_.write("b.npy", npy_of("<i4", "(2,)", raw(negative)));
  expect_error<InputError>([&] { tokens_of({b}); }, {b, "token 1 is -1"});
  const std::vector<uint64_t> huge = {UINT64_MAX};
  expect_error<InputError>([&] { tokens_of({scratch_.write("c.npy", npy_of("<u8", "(1,)", raw(huge)))}); },
                           {"token 0 is -1"});
}

TEST_F(TokenFiles, AreNotMixedWithText) {
  const std::vector<uint8_t> bytes = {1, 2, 3};
  const auto a = scratch_.write("a.npy", npy_of("|u1", "(3,)", raw(bytes)));
  const auto b = scratch_.write("b.txt", "text");
  expect_error<InputError>([&] { tokens_of({a, b}); }, {a, "holds tokens", b, "holds text", "weight"});
  expect_error<InputError>([&] { open_corpus_of({DataEntry{a}, DataEntry{b}}, *kBytes); }, {a, b});
  DataEntry with_key(a);
  with_key.key = "content";
  expect_error<InputError>([&] { open_corpus_of({with_key}, *kBytes); }, {a, "no key content"});
}

struct Malformed {
  std::string name, path, content;
  std::vector<std::string> parts;
};

TEST_F(TokenFiles, MalformedOnesHaveOneClearErrorEach) {
  const std::vector<uint16_t> nine = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  const std::string tokens = raw(nine);
  const auto index = [](const std::function<void(MegatronIndex&)>& change) {
    MegatronIndex made;
    change(made);
    return made.bytes();
  };
  const std::string good = MegatronIndex().bytes();
  const std::string u16 = "(9,)";
  const Malformed cases[] = {
      {"idx_magic", "m.idx", index([](auto& i) { i.magic[0] = 'X'; }), {"m.idx", "MMIDIDX"}},
      {"idx_empty", "m.idx", "", {"m.idx", "MMIDIDX"}},
      {"idx_header", "m.idx", good.substr(0, 20), {"m.idx", "20 bytes long", "header"}},
      {"idx_version", "m.idx", index([](auto& i) { i.version = 2; }), {"version 2", "expected 1"}},
      {"idx_float", "m.idx", index([](auto& i) { i.type = 7; }), {"dtype 7", "integers"}},
      {"idx_truncated", "m.idx", good.substr(0, good.size() - 1), {"m.idx", "3 sequences", "follow it"}},
      {"idx_claims",
       "m.idx",
       index([](auto& i) { i.sequences = uint64_t{1} << 60; }),
       {"1152921504606846976"}},
      {"idx_length", "m.idx", index([](auto& i) { i.lengths[1] = -2; }), {"sequence 1 has -2 tokens"}},
      {"idx_offset", "m.idx", index([](auto& i) { i.offsets[2] = 8; }), {"sequence 2", "byte 8", "byte 10"}},
      {"idx_short_bin",
       "m.idx",
       index([](auto& i) { i.lengths[2] = 5; }),
       {"10 tokens of 2 bytes", "18 bytes"}},
      {"idx_documents",
       "m.idx",
       index([](auto& i) {
         i.documents = {0, 3, 2};
       }),
       {"sequence 2, after one at 3"}},
      {"idx_document_end",
       "m.idx",
       index([](auto& i) {
         i.documents = {0, 1, 2};
       }),
       {"not all of its 3"}},
      {"llmc_header", "a.bin", llm_c(20240520, 1, 9, "").substr(0, 100), {"a.bin", "100 bytes long"}},
      {"llmc_version", "a.bin", llm_c(20240520, 2, 9, tokens), {"version 2", "expected 1"}},
      {"llmc_count", "a.bin", llm_c(20240520, 1, 10, tokens), {"10 tokens of 2 bytes", "18 bytes follow"}},
      {"llmc_negative", "a.bin", llm_c(20240520, 1, -9, tokens), {"-9 tokens"}},
      {"npy_magic", "a.npy", "NUMPY, but not really", {"a.npy", "does not begin"}},
      {"npy_version", "a.npy", std::string("\x93NUMPY\x09\0\x10\0\0\0", 12), {"version 9"}},
      {"npy_header", "a.npy", std::string("\x93NUMPY\x01\0\xFF\xFF{}", 12), {"header of 65535 bytes"}},
      {"npy_keys", "a.npy", npy("{'fortran_order': False}\n", tokens), {"no descr"}},
      {"npy_float", "a.npy", npy_of("<f4", u16, tokens), {"\"<f4\"", "integers"}},
      {"npy_big_endian", "a.npy", npy_of(">u2", u16, tokens), {"\">u2\"", "little-endian"}},
      {"npy_record",
       "a.npy",
       npy("{'descr': [('a', '<u2')], 'fortran_order': False, 'shape': (9,), }\n", tokens),
       {"dtype"}},
      {"npy_shape", "a.npy", npy_of("<u2", "(9", tokens), {"shape"}},
      {"npy_three", "a.npy", npy_of("<u2", "(1, 3, 3)", tokens), {"3 dimensions"}},
      {"npy_scalar", "a.npy", npy_of("<u2", "()", tokens), {"0 dimensions"}},
      {"npy_fortran", "a.npy", npy_of("<u2", "(3, 3)", tokens, "True"), {"ascontiguousarray"}},
      {"npy_count", "a.npy", npy_of("<u2", "(10,)", tokens), {"1 x 10 integers of 2 bytes", "18 bytes"}},
      {"npy_overflow", "a.npy", npy_of("<u2", "(4611686018427387904, 4)", tokens), {"18 bytes"}},
      {"npy_none", "a.npy", npy_of("<u2", "(0,)", ""), {"holds no tokens"}},
  };
  for (const Malformed& m : cases) {
    SCOPED_TRACE(m.name);
    const ScratchDir scratch;
    scratch.write("m.bin", tokens);
    const auto path = scratch.write(m.path, m.content);
    expect_error<InputError>([&] { tokens_of({path}); }, m.parts);
  }
}

TEST_F(TokenFiles, AnIndexWithoutTokensIsNamed) {
  const auto path = scratch_.write("m.idx", MegatronIndex().bytes());
  expect_error<InputError>([&] { tokens_of({path}); }, {scratch_ / "m.bin", "No such file"});
}

}  // namespace
}  // namespace natrix::test
