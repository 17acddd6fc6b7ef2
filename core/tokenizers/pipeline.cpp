#include "core/tokenizers/pipeline.h"

#include <algorithm>
#include <unordered_map>

#include "core/tokenizers/utf8.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

/// The ids of pieces that were met before in this text: most of a language's words come again and again.
class PieceCache {
 public:
  explicit PieceCache(const TokenModel& model) : model_(model) {}

  void encode(std::string_view piece, std::vector<int64_t>& ids) {
    constexpr size_t kMostPieces = 1 << 16, kLongest = 32;
    if (piece.size() > kLongest) return model_.encode(piece, ids);
    if (const auto found = known_.find(piece); found != known_.end()) {
      ids.insert(ids.end(), found->second.begin(), found->second.end());
      return;
    }
    const auto first = static_cast<std::ptrdiff_t>(ids.size());
    model_.encode(piece, ids);
    if (known_.size() < kMostPieces)
      known_.emplace(std::string(piece), std::vector<int64_t>(ids.begin() + first, ids.end()));
  }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
  };
  const TokenModel& model_;
  std::unordered_map<std::string, std::vector<int64_t>, Hash, std::equal_to<>> known_;
};

std::vector<AddedToken> with_normalized(std::vector<AddedToken> tokens, bool normalized) {
  std::erase_if(tokens, [&](const AddedToken& t) { return t.normalized != normalized; });
  return tokens;
}

std::vector<AddedToken> normalised_contents(std::vector<AddedToken> tokens, const Normalizer& normalizer) {
  for (AddedToken& t : tokens) {
    if (normalizer) t.content = normalizer(t.content);
  }
  return tokens;
}

class PipelineTokenizer final : public Tokenizer {
 public:
  explicit PipelineTokenizer(TokenizerParts parts)
      : parts_(std::move(parts)),
        raw_(with_normalized(parts_.added, false)),
        normalised_(normalised_contents(with_normalized(parts_.added, true), parts_.normalizer)) {
    if (parts_.text_of_id.empty()) throw InputError(parts_.name + ": the vocabulary is empty");
  }

  std::string name() const override { return parts_.name; }
  std::string identity() const override { return parts_.identity; }
  int64_t vocab_size() const override { return static_cast<int64_t>(parts_.text_of_id.size()); }
  int64_t eod() const override { return parts_.eod; }
  TextCuts cuts() const override {
    const bool words =
        parts_.normalizes_words_apart && parts_.pretokenizer && parts_.pretokenizer->divides_words();
    return words ? TextCuts::kWords : TextCuts::kNowhere;
  }
  std::vector<int64_t> special_before() const override { return parts_.before; }
  std::vector<int64_t> special_after() const override { return parts_.after; }

  std::vector<int64_t> encode(std::string_view text) const override {
    std::vector<int64_t> ids;
    PieceCache cache(*parts_.model);
    bool first = true;
    const auto add = [&](int64_t id) {
      ids.push_back(id);
      first = false;
    };
    raw_.split(
        text, [&](std::string_view part) { encode_part(part, first, cache, ids, add); }, add);
    return ids;
  }

  std::optional<int64_t> token_id(std::string_view token) const override {
    for (const AddedToken& t : parts_.added) {
      if (t.content == token) return t.id;
    }
    return parts_.model->id(token);
  }

  std::string decode(std::span<const int64_t> ids) const override { return decode_from(ids, true); }

  std::string decode_from(std::span<const int64_t> ids, bool at_start) const override {
    return text_of(ids, at_start, false);
  }
  std::string spell(std::span<const int64_t> ids) const override { return text_of(ids, true, true); }

 private:
  std::string text_of(std::span<const int64_t> ids, bool at_start, bool with_special) const {
    std::string text;
    for (const int64_t id : ids) {
      if (id < 0 || id >= vocab_size()) continue;
      const auto i = static_cast<size_t>(id);
      if (parts_.special[i] && !with_special) continue;
      std::string_view piece = parts_.text_of_id[i];
      if (at_start && !piece.empty()) {
        if (parts_.strips_first_space && piece.starts_with(' ')) piece.remove_prefix(1);
        at_start = false;
      }
      text += piece;
    }
    return text;
  }

  template <class Add>
  void encode_part(std::string_view part, bool& first, PieceCache& cache, std::vector<int64_t>& ids,
                   const Add& add) const {
    const std::string normal = parts_.normalizer ? parts_.normalizer(part) : std::string();
    normalised_.split(
        parts_.normalizer ? std::string_view(normal) : part,
        [&](std::string_view text) {
          const auto encode_piece = [&](std::string_view piece) { cache.encode(piece, ids); };
          parts_.pretokenizer ? parts_.pretokenizer->split(text, first, encode_piece) : encode_piece(text);
          first = false;
        },
        add);
  }

  TokenizerParts parts_;
  AddedTokens raw_, normalised_;
};

}  // namespace

std::unique_ptr<Tokenizer> make_pipeline(TokenizerParts parts) {
  return std::make_unique<PipelineTokenizer>(std::move(parts));
}

}  // namespace natrix
