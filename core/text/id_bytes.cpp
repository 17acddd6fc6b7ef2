#include "core/text/id_bytes.h"

#include <algorithm>

namespace natrix {

std::vector<int64_t> text_bytes_of_ids(const Tokenizer& tokenizer) {
  std::vector<int64_t> bytes;
  for (int64_t id = 0; id < tokenizer.vocab_size(); ++id)
    bytes.push_back(static_cast<int64_t>(tokenizer.decode({&id, 1}).size()));
  return bytes;
}

int64_t sum_text_bytes(const Corpus& corpus, int64_t begin, int64_t count,
                       const std::vector<int64_t>& bytes_of) {
  constexpr int64_t kAtOnce = 1 << 20;
  std::vector<int64_t> tokens(static_cast<size_t>(std::min(count, kAtOnce)));
  int64_t bytes = 0;
  for (int64_t done = 0; done < count; done += kAtOnce) {
    const int64_t here = std::min(count - done, kAtOnce);
    corpus.read(begin + done, here, tokens.data(), nullptr);
    for (int64_t i = 0; i < here; ++i) bytes += bytes_of[static_cast<size_t>(tokens[static_cast<size_t>(i)])];
  }
  return bytes;
}

}  // namespace natrix
