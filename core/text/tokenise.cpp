#include "core/text/tokenise.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <string_view>
#include <thread>
#include <utility>

#include "kernels/base/check.h"

namespace natrix {
namespace {

constexpr int64_t kRoundBytes = int64_t{4} << 20;  // text for each thread and round
constexpr size_t kRoundPieces = 4096;              // for each thread and round

/// Pieces that are turned into tokens together.
struct Round {
  std::vector<TextPiece> pieces;
  std::vector<TokenPiece> tokens;
  std::vector<std::exception_ptr> faults;  // one for each piece; null: none
  std::exception_ptr end;                  // why reading ended after these pieces; null: it did not fail

  void resize_results() {
    tokens.assign(pieces.size(), {});
    faults.assign(pieces.size(), nullptr);
  }
};

void check_ids(const std::vector<int64_t>& ids, const Tokenizer& tokenizer, bool may_be_eod) {
  for (const int64_t id : ids) {
    require(0 <= id && id < tokenizer.vocab_size() && (may_be_eod || id != tokenizer.eod()),
            "the tokenizer returned an id that no text has");
  }
}

Conversation render(const TextPiece& piece, const TextFile& file, const ConversationTemplate& chat,
                    const std::string& origin) {
  const std::string key = file.key.empty() ? "messages" : file.key;
  const nlohmann::ordered_json record = conversation_of_record(piece.text, key, origin);
  const auto tools = record.find("tools");
  const bool has_tools = tools != record.end() && !tools->is_null();
  try {
    return chat.render(record.at(key), has_tools ? &*tools : nullptr);
  } catch (const InputError& e) {
    throw InputError(fmt::format("{}: {}", origin, e.what()));
  }
}

/// Each stretch is encoded by itself, as it is when the model answers: what comes before is read, and the answer
/// begins with a token of its own.
void encode_conversation(const Conversation& conversation, const Tokenizer& tokenizer, TokenPiece& tokens) {
  const std::string_view text = conversation.text;
  const auto add = [&](int64_t begin, int64_t end, bool learnt) {
    if (begin == end) return;
    const auto ids =
        tokenizer.encode(text.substr(static_cast<size_t>(begin), static_cast<size_t>(end - begin)));
    tokens.ids.insert(tokens.ids.end(), ids.begin(), ids.end());
    tokens.loss.resize(tokens.ids.size(), learnt ? 1 : 0);
  };
  const auto size = static_cast<int64_t>(text.size());
  int64_t at = 0;
  for (const auto& [begin, end] : conversation.assistant) {
    require(at <= begin && begin <= end && end <= size, "stretches of a conversation that are out of order");
    add(at, begin, false);
    add(begin, end, true);
    at = end;
  }
  tokens.learns_end =
      !conversation.assistant.empty() && at == size;  // no mark of the template ends the answer
  add(at, size, false);
  tokens.text_bytes = size;
}

TokenPiece tokens_of(const TextPiece& piece, const TextFile& file, const TextReader& reader) {
  TokenPiece tokens{.ids = {}, .loss = {}, .starts_document = piece.starts_document, .after = piece.after};
  const std::string origin = fmt::format("{}:{}", file.path, piece.line);
  if (file.conversations) {
    encode_conversation(render(piece, file, *reader.chat, origin), reader.tokenizer, tokens);
  } else {
    const std::string record =
        file.records ? text_of_record(piece.text, file.key.empty() ? "text" : file.key, origin) : "";
    const std::string& text = file.records ? record : piece.text;
    tokens.ids = reader.tokenizer.encode(text);
    tokens.text_bytes = static_cast<int64_t>(text.size());
  }
  check_ids(tokens.ids, reader.tokenizer, file.conversations);
  return tokens;
}

/// A round is tokenised by threads while the caller reads the next one.
class RoundWorkers {
 public:
  RoundWorkers(Round& round, const std::vector<TextFile>& files, const TextReader& reader, int threads)
      : round_(round), files_(files), reader_(reader) {
    round_.resize_results();
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
  }
  ~RoundWorkers() {
    for (std::thread& thread : threads_) thread.join();
  }
  RoundWorkers(const RoundWorkers&) = delete;
  RoundWorkers& operator=(const RoundWorkers&) = delete;

 private:
  void work() {
    for (size_t i = next_++; i < round_.pieces.size(); i = next_++) {
      try {
        const TextPiece& piece = round_.pieces[i];
        round_.tokens[i] = tokens_of(piece, files_[piece.file], reader_);
      } catch (...) {
        round_.faults[i] = std::current_exception();
      }
    }
  }

  Round& round_;
  const std::vector<TextFile>& files_;
  const TextReader& reader_;
  std::atomic<size_t> next_{0};
  std::vector<std::thread> threads_;
};

/// A fault of reading is kept until the pieces before it were checked: they may have one of their own.
Round read_round(TextDocuments& documents, int threads) {
  Round round;
  int64_t bytes = 0;
  try {
    while (bytes < kRoundBytes * threads &&
           round.pieces.size() < kRoundPieces * static_cast<size_t>(threads)) {
      auto piece = documents.next();
      if (!piece) break;
      bytes += static_cast<int64_t>(piece->text.size());
      round.pieces.push_back(*std::move(piece));
    }
  } catch (...) {
    round.end = std::current_exception();
  }
  return round;
}

}  // namespace

void tokenise(const std::vector<TextFile>& files, TextPosition from, const TextReader& reader, int threads,
              const std::function<void(const TokenPiece&)>& take, const std::function<void(int64_t)>& read) {
  if (threads == 0) threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  TextDocuments documents(files, from);
  int64_t reported = 0;
  Round round = read_round(documents, threads);
  while (!round.pieces.empty()) {
    Round following;
    {
      const RoundWorkers workers(round, files, reader, threads);
      if (!round.end) following = read_round(documents, threads);
    }
    for (size_t i = 0; i < round.pieces.size(); ++i) {
      if (round.faults[i]) std::rethrow_exception(round.faults[i]);
      take(round.tokens[i]);
    }
    if (round.end) break;
    read(documents.consumed() - std::exchange(reported, documents.consumed()));
    round = std::move(following);
  }
  if (round.end) std::rethrow_exception(round.end);
}

}  // namespace natrix
