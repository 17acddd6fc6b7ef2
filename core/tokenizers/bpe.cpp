#include "core/tokenizers/bpe.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <queue>
#include <unordered_map>

#include "core/files/json.h"
#include "core/tokenizers/merge_table.h"
#include "core/tokenizers/utf8.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

constexpr int32_t kNoToken = -1;

class Bpe final : public TokenModel {
 public:
  Bpe(BpeSpec spec, const std::string& where);

  void encode(std::string_view piece, std::vector<int64_t>& ids) const override;
  int64_t vocab_size() const override { return static_cast<int64_t>(spec_.tokens.size()); }
  std::optional<int64_t> id(std::string_view token) const override;
  std::string_view token(int64_t id) const override { return spec_.tokens[static_cast<size_t>(id)]; }

 private:
  using Symbols = std::vector<int32_t>;

  void add_symbols(std::string_view piece, Symbols& symbols) const;
  void add_unknown(std::string_view character, Symbols& symbols) const;
  void merge_few(Symbols& symbols) const;
  void merge_many(Symbols& symbols) const;

  BpeSpec spec_;
  std::unordered_map<std::string_view, int32_t> ids_;  // views of spec_.tokens
  std::array<int32_t, 256> byte_tokens_;               // of single bytes, or of "<0xE2>"
  MergeTable merges_;
};

Bpe::Bpe(BpeSpec spec, const std::string& where) : spec_(std::move(spec)), merges_(spec_.merges.size()) {
  for (size_t i = 0; i < spec_.tokens.size(); ++i) {
    if (!spec_.tokens[i].empty()) ids_.emplace(spec_.tokens[i], static_cast<int32_t>(i));
  }
  const auto find = [&](std::string_view token) {
    const auto found = ids_.find(token);
    return found == ids_.end() ? kNoToken : found->second;
  };
  for (size_t i = 0; i < spec_.merges.size(); ++i) {
    const auto& [left, right] = spec_.merges[i];
    const int32_t a = find(left), b = find(right), both = find(left + right);
    if (a == kNoToken || b == kNoToken || both == kNoToken) {
      throw InputError(fmt::format("{}: merge {} joins {} and {}, of which {} is not in the vocabulary",
                                   where, i, excerpt(left), excerpt(right),
                                   excerpt(a == kNoToken   ? left
                                           : b == kNoToken ? right
                                                           : left + right)));
    }
    merges_.add(a, b, {static_cast<int32_t>(i), both});
  }
  for (int byte = 0; byte < 256; ++byte) {
    const std::string token =
        spec_.by_bytes ? std::string(1, static_cast<char>(byte)) : fmt::format("<0x{:02X}>", byte);
    byte_tokens_[static_cast<size_t>(byte)] = find(token);
  }
  if (spec_.byte_fallback && !spec_.by_bytes && std::ranges::count(byte_tokens_, kNoToken) > 0)
    throw InputError(where +
                     ": byte_fallback needs the tokens <0x00> to <0xFF>, and not all are in the vocabulary");
  spec_.merges = {};
}

std::optional<int64_t> Bpe::id(std::string_view token) const {
  const auto found = ids_.find(token);
  return found == ids_.end() ? std::nullopt : std::optional<int64_t>(found->second);
}

void Bpe::add_unknown(std::string_view character, Symbols& symbols) const {
  if (spec_.byte_fallback) {
    for (const char c : character) symbols.push_back(byte_tokens_[static_cast<unsigned char>(c)]);
  } else if (spec_.unknown) {
    const auto unknown = static_cast<int32_t>(*spec_.unknown);
    if (!spec_.fuse_unknown || symbols.empty() || symbols.back() != unknown) symbols.push_back(unknown);
  }
}

void Bpe::add_symbols(std::string_view piece, Symbols& symbols) const {
  for (size_t i = 0; i < piece.size();) {
    const size_t length = spec_.by_bytes ? 1 : static_cast<size_t>(character_at(piece, i).length);
    const std::string_view character = piece.substr(i, length);
    if (spec_.by_bytes) {
      const int32_t token = byte_tokens_[static_cast<unsigned char>(character[0])];
      token == kNoToken ? add_unknown(character, symbols) : symbols.push_back(token);
    } else {
      const auto found = ids_.find(character);
      found == ids_.end() ? add_unknown(character, symbols) : symbols.push_back(found->second);
    }
    i += length;
  }
}

/// For words: looks at all pairs for each merge, which is fast as long as there are few.
void Bpe::merge_few(Symbols& symbols) const {
  constexpr size_t kMost = 64;
  std::array<MergeTable::Merge, kMost> merge;  // of symbol i with its right neighbour
  size_t n = symbols.size();
  const auto look = [&](size_t i) {
    merge[i] = i + 1 < n ? merges_(symbols[i], symbols[i + 1]) : MergeTable::Merge{};
  };
  for (size_t i = 0; i < n; ++i) look(i);
  for (;;) {
    size_t best = 0;
    for (size_t i = 1; i < n; ++i) {
      if (merge[i].rank < merge[best].rank) best = i;
    }
    if (n == 0 || merge[best].rank == MergeTable::kNone) break;
    symbols[best] = merge[best].token;
    std::copy(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 2,
              symbols.begin() + static_cast<std::ptrdiff_t>(n),
              symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    std::copy(merge.begin() + best + 2, merge.begin() + n, merge.begin() + best + 1);
    --n;
    look(best);
    if (best > 0) look(best - 1);
  }
  symbols.resize(n);
}

/// For long pieces: a heap of merges over a linked list, n log n.
void Bpe::merge_many(Symbols& symbols) const {
  struct Candidate {
    int32_t rank;
    size_t at;
    int32_t left, right;  // the pair when it was found; a symbol that has changed since makes it void
    bool operator>(const Candidate& o) const { return rank != o.rank ? rank > o.rank : at > o.at; }
  };
  const size_t n = symbols.size();
  std::vector<size_t> next(n), before(n);
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> heap;
  const auto look = [&](size_t i) {
    if (next[i] >= n) return;
    const MergeTable::Merge m = merges_(symbols[i], symbols[next[i]]);
    if (m.rank != MergeTable::kNone) heap.push({m.rank, i, symbols[i], symbols[next[i]]});
  };
  for (size_t i = 0; i < n; ++i) {
    next[i] = i + 1;
    before[i] = i - 1;  // of the first: wraps, and is never used
  }
  for (size_t i = 0; i < n; ++i) look(i);
  while (!heap.empty()) {
    const Candidate c = heap.top();
    heap.pop();
    if (symbols[c.at] != c.left || next[c.at] >= n || symbols[next[c.at]] != c.right) continue;
    symbols[c.at] = merges_(c.left, c.right).token;
    const size_t gone = next[c.at];
    symbols[gone] = kNoToken;
    next[c.at] = next[gone];
    if (next[c.at] < n) before[next[c.at]] = c.at;
    look(c.at);
    if (c.at > 0) look(before[c.at]);
  }
  std::erase(symbols, kNoToken);
}

void Bpe::encode(std::string_view piece, std::vector<int64_t>& ids) const {
  if (spec_.ignore_merges) {
    if (const std::optional<int64_t> whole = id(piece)) return ids.push_back(*whole);
  }
  Symbols symbols;
  symbols.reserve(piece.size());
  add_symbols(piece, symbols);
  symbols.size() <= 64 ? merge_few(symbols) : merge_many(symbols);
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

}  // namespace

std::unique_ptr<TokenModel> make_bpe(BpeSpec spec, const std::string& where) {
  return std::make_unique<Bpe>(std::move(spec), where);
}

}  // namespace natrix
