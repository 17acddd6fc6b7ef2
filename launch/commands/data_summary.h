// What natrix data prints of data that it only reads: documents, tokens, bytes, and a sample.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/text/corpus.h"

namespace natrix {

struct SourceSummary {
  std::string path;
  std::optional<double> weight;  // part of all rows, from 0 to 1
  int64_t documents = 0, tokens = 0, text_bytes = 0;
  std::string sample;  // the beginning of a document from the middle, decoded

  double tokens_per_byte() const {
    return text_bytes == 0 ? 0 : static_cast<double>(tokens) / static_cast<double>(text_bytes);
  }
};

/// Reads the corpus to the end if its counts are not known otherwise.
SourceSummary summarise(std::string path, std::optional<double> weight, const Corpus& corpus,
                        const Tokenizer& tokenizer);

nlohmann::ordered_json summary_json(const std::vector<SourceSummary>& sources, const Tokenizer& tokenizer);
/// A table with a row for each source, their sum, and the samples.
void print_summary_table(const std::vector<SourceSummary>& sources);

}  // namespace natrix
