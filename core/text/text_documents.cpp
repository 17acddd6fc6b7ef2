#include "core/text/text_documents.h"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/files/json.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

constexpr int64_t kTextBlock = int64_t{1} << 20;      // bytes that are asked of a stream at once
constexpr int64_t kPieceBytes = int64_t{1} << 20;     // a piece of a long document has at least so many
constexpr int64_t kLongestPiece = int64_t{64} << 20;  // where a long document has no place to cut it

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

/// The first place to cut at or after `from`: just behind a line end between characters that are not white
/// space. 0 if there is none.
size_t place_to_cut(std::string_view text, size_t from) {
  for (size_t i = text.find('\n', from); i != std::string_view::npos && i + 1 < text.size();
       i = text.find('\n', i + 1)) {
    if (i > 0 && !is_space(text[i - 1]) && !is_space(text[i + 1])) return i + 1;
  }
  return 0;
}

/// `most`, or less, so that no UTF-8 character is cut.
size_t between_characters(std::string_view text, size_t most) {
  size_t at = most;
  while (at > most - 3 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

bool is_blank(std::string_view line) {
  return std::all_of(line.begin(), line.end(), is_space);
}

nlohmann::json record_of_line(const std::string& line, const std::string& key, const std::string& origin) {
  nlohmann::json record = parse_json(line, origin);
  if (record.is_object()) return record;
  throw InputError(fmt::format("{}: is a JSON {}; expected an object, such as {{\"{}\": \"…\"}}", origin,
                               record.type_name(), key));
}

nlohmann::json& member_of(nlohmann::json& record, const std::string& key, const std::string& origin) {
  if (const auto at = record.find(key); at != record.end()) return *at;
  std::vector<std::string> keys;
  for (const auto& [name, value] : record.items()) keys.push_back(excerpt(name));
  throw InputError(fmt::format(
      "{}: has no key {}; its keys are {}; say which of them holds the text with key: NAME beside "
      "the path",
      origin, excerpt(key), keys.empty() ? "none" : fmt::format("{}", fmt::join(keys, ", "))));
}

}  // namespace

TextDocuments::TextDocuments(const std::vector<TextFile>& files, TextPosition from)
    : files_(files), at_(from) {
  for (int64_t i = 0; i < from.file; ++i) consumed_before_ += files_[static_cast<size_t>(i)].size;
}

std::optional<TextPiece> TextDocuments::next() {
  while (open()) {
    auto piece = files_[static_cast<size_t>(at_.file)].records ? next_line() : next_text();
    if (piece) return piece;
    consumed_before_ += stream_->consumed();
    stream_ = nullptr;
    at_ = {.file = at_.file + 1};
  }
  return std::nullopt;
}

int64_t TextDocuments::consumed() const {
  return consumed_before_ + (stream_ ? stream_->consumed() : 0);
}

/// Opens the file at the position. False after the last file.
bool TextDocuments::open() {
  if (stream_) return true;
  if (at_.file >= static_cast<int64_t>(files_.size())) return false;
  stream_ = open_byte_stream(files_[static_cast<size_t>(at_.file)].path);
  stream_->skip(at_.offset);
  buffer_.clear();
  begin_ = 0;
  ended_ = false;
  return true;
}

/// Reads more bytes. False at the end of the file.
bool TextDocuments::fill() {
  if (ended_) return false;
  if (begin_ > 0) buffer_.erase(0, begin_);
  begin_ = 0;
  const size_t had = buffer_.size();
  buffer_.resize(had + static_cast<size_t>(kTextBlock));
  const int64_t got = stream_->read(buffer_.data() + had, kTextBlock);
  buffer_.resize(had + static_cast<size_t>(got));
  ended_ = got == 0;
  return !ended_;
}

TextPiece TextDocuments::take(int64_t count) {
  TextPiece piece{.text = buffer_.substr(begin_, static_cast<size_t>(count)),
                  .file = static_cast<size_t>(at_.file),
                  .line = 0,
                  .starts_document = !at_.inside,
                  .after = {}};
  begin_ += static_cast<size_t>(count);
  at_.offset += count;
  return piece;
}

std::optional<TextPiece> TextDocuments::next_line() {
  size_t searched = 0;  // from begin_ on, without a line end
  while (true) {
    const size_t end = buffer_.find('\n', begin_ + searched);
    if (end == std::string::npos) {
      searched = buffer_.size() - begin_;
      if (static_cast<int64_t>(searched) > kLongestLine) {
        throw InputError(fmt::format("{}:{}: the line is longer than {} MiB; expected JSON lines",
                                     files_[static_cast<size_t>(at_.file)].path, at_.line + 1,
                                     kLongestLine >> 20));
      }
      if (fill()) continue;
      if (searched == 0) return std::nullopt;
    }
    const size_t stop = end == std::string::npos ? buffer_.size() : end + 1;
    TextPiece piece = take(static_cast<int64_t>(stop - begin_));
    piece.line = ++at_.line;
    piece.after = at_;
    if (piece.line == 1 && piece.text.starts_with("\xEF\xBB\xBF")) piece.text.erase(0, 3);
    if (!is_blank(piece.text)) return piece;
    searched = 0;
  }
}

std::optional<TextPiece> TextDocuments::next_text() {
  const auto left = [&] { return static_cast<int64_t>(buffer_.size() - begin_); };
  while (left() <= kWholeDocument && fill()) {
  }
  if (left() == 0 && at_.inside) return std::nullopt;
  int64_t count = left();
  while (count > kWholeDocument) {
    const std::string_view text = std::string_view(buffer_).substr(begin_);
    if (const size_t cut = place_to_cut(text, static_cast<size_t>(kPieceBytes)); cut > 0) {
      count = static_cast<int64_t>(cut);
      break;
    }
    if (left() > kLongestPiece) {
      count = static_cast<int64_t>(between_characters(text, static_cast<size_t>(kLongestPiece)));
      break;
    }
    const bool more = fill();
    count = left();
    if (!more) break;
  }
  TextPiece piece = take(count);
  at_.inside = true;
  piece.after = at_;
  return piece;
}

bool holds_conversations(const TextFile& file) {
  if (!file.records) return false;
  const std::vector<TextFile> alone = {file};
  const auto first = TextDocuments(alone).next();
  if (!first) return false;
  const nlohmann::json record = parse_json(first->text, fmt::format("{}:{}", file.path, first->line));
  if (!record.is_object()) return false;
  if (!file.key.empty()) return record.contains(file.key) && record[file.key].is_array();
  return record.contains("messages") && !record.contains("text");
}

nlohmann::ordered_json conversation_of_record(const std::string& line, const std::string& key,
                                              const std::string& origin) {
  nlohmann::json record = record_of_line(line, key, origin);
  const nlohmann::json& messages = member_of(record, key, origin);
  if (!messages.is_array() || messages.empty()) {
    throw InputError(
        fmt::format("{}: {} is {}; expected a list of messages, as in the first line of the file", origin,
                    excerpt(key), messages.is_array() ? "empty" : messages.type_name()));
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    const nlohmann::json& message = messages[i];
    if (message.is_object() && message.contains("role") && message["role"].is_string()) continue;
    throw InputError(
        fmt::format("{}: message {} of {} has no \"role\"; expected {{\"role\": …, \"content\": …}}", origin,
                    i, excerpt(key)));
  }
  if (record.contains("tools") && !record["tools"].is_array() && !record["tools"].is_null()) {
    throw InputError(
        fmt::format("{}: \"tools\" is a JSON {}; expected a list", origin, record["tools"].type_name()));
  }
  return nlohmann::ordered_json::parse(line);  // again, in order: it was found to be valid
}

std::string text_of_record(const std::string& line, const std::string& key, const std::string& origin) {
  nlohmann::json record = record_of_line(line, key, origin);
  nlohmann::json& text = member_of(record, key, origin);
  if (!text.is_string()) {
    throw InputError(
        fmt::format("{}: {} is a JSON {}; expected a string", origin, excerpt(key), text.type_name()));
  }
  return std::move(text.get_ref<std::string&>());
}

}  // namespace natrix
