// The lines of a --prompts file: one JSON object a line.
//
//   {"prompt": "Once upon"}                         a text, or
//   {"tokens": [5, 17, 3]}                          its ids
//   {…, "id": "a", "max_tokens": 20, "seed": 7}     optional; else those of the command line
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace natrix {

struct PromptLine {
  std::optional<std::string> text;  // or, if not set,
  std::vector<int64_t> tokens;
  std::string id;  // JSON text of the id; "" if there is none
  std::optional<int64_t> max_tokens;
  std::optional<uint64_t> seed;
};

/// path: a file, or - for standard input. Blank lines are skipped. InputError names the file and the line, and
/// refuses a file without prompts and tokens outside of the vocabulary.
std::vector<PromptLine> read_prompt_lines(const std::string& path, int64_t vocab_size);

}  // namespace natrix
