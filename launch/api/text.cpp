#include "launch/api/text.h"

#include <algorithm>

#include "core/text/own_tokenizer.h"
#include "launch/api/model_files.h"

namespace natrix {

std::unique_ptr<Tokenizer> text_tokenizer(const std::string& spec, const std::string& dir,
                                          int64_t vocab_size) {
  if (!spec.empty()) return make_tokenizer(spec, vocab_size);
  return make_own_tokenizer(model_tokenizer(dir), vocab_size,
                            "give tokens instead of text (score and generate have --tokens), or --tokenizer "
                            "bytes if the model was trained on bytes");
}

std::unique_ptr<Tokenizer> text_tokenizer_if_any(const std::string& spec, const std::string& dir,
                                                 int64_t vocab_size) {
  if (!spec.empty()) return text_tokenizer(spec, dir, vocab_size);
  const OwnTokenizer own = model_tokenizer(dir);
  if (!may_read_text(own, vocab_size)) return nullptr;
  try {
    return make_own_tokenizer(own, vocab_size, "");
  } catch (const InputError&) {  // tokens can still be given instead of text
    return nullptr;
  }
}

std::vector<int64_t> end_of_text_ids(const std::string& dir, const Tokenizer* tokenizer, int64_t vocab_size) {
  std::vector<int64_t> ids = model_eos_token_ids(dir);
  if (tokenizer != nullptr && tokenizer->eod() != kNoEod &&
      std::ranges::find(ids, tokenizer->eod()) == ids.end())
    ids.push_back(tokenizer->eod());
  std::erase_if(ids, [&](int64_t id) {
    return id >= vocab_size;
  });  // rows that ended are padded with the first of these ids
  return ids;
}

}  // namespace natrix
