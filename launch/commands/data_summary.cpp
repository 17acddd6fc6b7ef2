#include "launch/commands/data_summary.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace natrix {
namespace {

constexpr int64_t kSampleTokens = 64;
constexpr int64_t kSearched = 1 << 16;  // tokens after the middle in which a document may begin

std::string sample_of(const Corpus& corpus, const Tokenizer& tokenizer) {
  int64_t begin = corpus.size() / 2;
  std::vector<int64_t> tokens(static_cast<size_t>(std::min(kSearched, corpus.size() - begin)));
  std::vector<uint8_t> starts(tokens.size());
  corpus.read(begin, static_cast<int64_t>(tokens.size()), tokens.data(), starts.data());
  size_t start = 0;  // of a document that is not empty
  while (start + 1 < starts.size() && (starts[start] == 0 || starts[start + 1] == 1)) ++start;
  begin = start + 1 < starts.size() ? begin + static_cast<int64_t>(start) : 0;
  tokens.resize(static_cast<size_t>(std::min(kSampleTokens, corpus.size() - begin)));
  starts.resize(tokens.size());
  corpus.read(begin, static_cast<int64_t>(tokens.size()), tokens.data(), starts.data());
  const auto next = std::find(starts.begin() + 1, starts.end(), 1);
  tokens.resize(static_cast<size_t>(next - starts.begin()));
  StreamDecoder decoder(tokenizer);  // leaves out a character that the end of the sample cuts
  std::string text;
  for (const int64_t token : tokens) text += decoder.push(token);
  return text;
}

nlohmann::ordered_json counts_json(const SourceSummary& s) {
  return {{"documents", s.documents},
          {"tokens", s.tokens},
          {"text_bytes", s.text_bytes},
          {"tokens_per_byte", s.tokens_per_byte()}};
}

SourceSummary sum_of(const std::vector<SourceSummary>& sources) {
  SourceSummary sum{.path = "all", .weight = {}, .sample = {}};
  for (const SourceSummary& s : sources) {
    sum.documents += s.documents;
    sum.tokens += s.tokens;
    sum.text_bytes += s.text_bytes;
  }
  return sum;
}

void print_row(const SourceSummary& s, bool weighted) {
  fmt::print("{:>12}  {:>15}  {:>15}  {:>11.4f}  ", s.documents, s.tokens, s.text_bytes, s.tokens_per_byte());
  if (weighted) fmt::print("{:>7}  ", s.weight ? fmt::format("{:.4g} %", 100 * *s.weight) : "");
  fmt::print("{}\n", s.path);
}

/// On one line, with what cannot be shown escaped.
std::string quoted_sample(const std::string& sample) {
  return nlohmann::json(sample).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

SourceSummary summarise(std::string path, std::optional<double> weight, const Corpus& corpus,
                        const Tokenizer& tokenizer) {
  return {.path = std::move(path),
          .weight = weight,
          .documents = corpus.documents(),
          .tokens = corpus.size(),
          .text_bytes = corpus.text_bytes(0, corpus.size()),
          .sample = sample_of(corpus, tokenizer)};
}

nlohmann::ordered_json summary_json(const std::vector<SourceSummary>& sources, const Tokenizer& tokenizer) {
  nlohmann::ordered_json json = {{"tokenizer", tokenizer.name()}, {"vocab_size", tokenizer.vocab_size()}};
  json.update(counts_json(sum_of(sources)));
  for (const SourceSummary& s : sources) {
    nlohmann::ordered_json one = {{"path", s.path}};
    if (s.weight) one["weight"] = *s.weight;
    one.update(counts_json(s));
    one["sample"] = s.sample;
    json["sources"].push_back(std::move(one));
  }
  return json;
}

void print_summary_table(const std::vector<SourceSummary>& sources) {
  const bool weighted = sources[0].weight.has_value();
  fmt::print("{:>12}  {:>15}  {:>15}  {:>11}  {}{}\n", "documents", "tokens", "bytes", "tokens/byte",
             weighted ? fmt::format("{:>7}  ", "rows") : "", "path");
  for (const SourceSummary& s : sources) print_row(s, weighted);
  if (sources.size() > 1) print_row(sum_of(sources), weighted);
  for (const SourceSummary& s : sources) fmt::print("\n{}:\n  {}\n", s.path, quoted_sample(s.sample));
}

}  // namespace natrix
