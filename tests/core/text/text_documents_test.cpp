#include "core/text/text_documents.h"

#include "tests/core/compression.h"
#include "tests/core/text_helpers.h"

namespace natrix::test {
namespace {

TextFile file_of(const std::string& path, bool records = false) {
  return {.path = path, .size = static_cast<int64_t>(read_file(path).size()), .records = records, .key = {}};
}

std::vector<TextPiece> pieces_of(const std::vector<TextFile>& files, TextPosition from = {}) {
  TextDocuments documents(files, from);
  std::vector<TextPiece> pieces;
  while (auto piece = documents.next()) pieces.push_back(*std::move(piece));
  return pieces;
}

TEST(TextDocuments, AFileIsADocumentAndALineARecord) {
  const ScratchDir scratch;
  const std::vector<TextFile> files = {
      file_of(scratch.write("a.txt", "one\ntwo\n")), file_of(scratch.write("b.txt", "")),
      file_of(scratch.write("c.jsonl.gz", gzip("\xEF\xBB\xBF{1}\r\n\n  \n{2}\n{3}")), true),
      file_of(scratch.write("d.jsonl", ""), true), file_of(scratch.write("e.txt.zst", zstd("three")))};
  const auto pieces = pieces_of(files);
  std::vector<std::string> texts;
  std::vector<int64_t> lines;
  for (const TextPiece& piece : pieces) {
    texts.push_back(piece.text);
    lines.push_back(piece.line);
    EXPECT_TRUE(piece.starts_document);
  }
  EXPECT_EQ(texts, (std::vector<std::string>{"one\ntwo\n", "", "{1}\r\n", "{2}\n", "{3}", "three"}));
  EXPECT_EQ(lines, (std::vector<int64_t>{0, 0, 1, 4, 5, 0}));
}

TEST(TextDocuments, GoOnAfterAnyPiece) {
  const ScratchDir scratch;
  std::string longer;
  for (int i = 0; longer.size() < (size_t{9} << 20); ++i)
    longer += "line " + std::to_string(i) + "\n\n and on\n";
  const std::vector<TextFile> files = {file_of(scratch.write("a.txt", "one")),
                                       file_of(scratch.write("b.txt", "")),
                                       file_of(scratch.write("c.txt.gz", gzip(longer))),
                                       file_of(scratch.write("d.jsonl", "{1}\n{2}\n"), true)};
  const auto pieces = pieces_of(files);
  ASSERT_GT(pieces.size(), 6u);  // the long one is several
  std::string joined;
  for (const TextPiece& piece : pieces) {
    if (piece.file == 2) joined += piece.text;
    if (piece.file == 2 && !piece.starts_document) {
      EXPECT_EQ(piece.text.substr(0, 5), "line ");
    }
  }
  EXPECT_EQ(joined, longer);
  for (size_t i = 0; i < pieces.size(); ++i) {
    const auto rest = pieces_of(files, pieces[i].after);
    ASSERT_EQ(rest.size(), pieces.size() - i - 1);
    for (size_t k = 0; k < rest.size(); ++k) {
      EXPECT_EQ(rest[k].text, pieces[i + 1 + k].text);
      EXPECT_EQ(rest[k].line, pieces[i + 1 + k].line);
      EXPECT_EQ(rest[k].starts_document, pieces[i + 1 + k].starts_document);
    }
  }
}

TEST(TextDocuments, CutALongTextWithoutLinesBetweenCharacters) {
  const ScratchDir scratch;
  std::string text = "\xE2\x82\xAC";
  while (text.size() < (size_t{66} << 20)) text += text;
  text = "a" + text;
  const std::vector<TextFile> files = {file_of(scratch.write("a.txt", text))};
  const auto pieces = pieces_of(files);
  ASSERT_EQ(pieces.size(), 2u);
  EXPECT_EQ(pieces[0].text + pieces[1].text, text);
  EXPECT_EQ(pieces[1].text[0], '\xE2');
}

TEST(TextOfRecord, IsTheStringUnderTheKey) {
  EXPECT_EQ(text_of_record(R"({"id": 3, "text": "a\n\u00e9"})", "text", "f:1"), "a\n\xC3\xA9");
  EXPECT_EQ(text_of_record(R"({"content": "", "text": 1})", "content", "f:1"), "");
  const std::string name = "f.jsonl:12";
  const std::pair<std::string, std::vector<std::string>> faults[] = {
      {R"({"content": "a", "id": 1})", {"no key \"text\"", "\"content\", \"id\"", "key: NAME"}},
      {"{}", {"no key \"text\"", "none"}},
      {R"({"text": 7})", {"\"text\" is a JSON number", "expected a string"}},
      {R"({"text": null})", {"\"text\" is a JSON null"}},
      {R"(["a"])", {"is a JSON array", "expected an object"}},
      {R"("text")", {"is a JSON string", "expected an object"}},
      {R"({"text": "a")", {"not valid JSON"}},
      {R"({"text": "a"} {"text": "b"})", {"not valid JSON"}},
      {R"({'text': 'a'})", {"not valid JSON"}},
      {"{\"text\": \"a\xFF\"}", {"not valid JSON"}},
      {R"({"text": "\ud800"})", {"not valid JSON"}},
      {R"({"text": "a", "text": "b"})", {"\"text\" appears twice"}},
      {std::string(100, '['), {"nested deeper"}}};
  for (const auto& [line, parts] : faults) {
    SCOPED_TRACE(line);
    std::vector<std::string> all = parts;
    all.push_back(name + ": ");
    expect_error<InputError>([&line = line, &name] { text_of_record(line, "text", name); }, all);
  }
}

}  // namespace
}  // namespace natrix::test
