// natrix generate --tokens: tokens in, tokens out, [B, T] → [B, T + n].
#include <nlohmann/json.hpp>

#include "core/files/safetensors.h"
#include "core/generate/decoder.h"
#include "core/generate/joint_prefill.h"
#include "core/report/progress.h"
#include "launch/api/text.h"
#include "launch/api/token_rows.h"
#include "launch/generate/generate_run.h"

namespace natrix {

int generate_tokens(GenerateRun& run) {
  const GenerateFlags& flags = run.flags();
  const Buffer prompt = read_tokens(flags.tokens, run.vocabulary());
  const int64_t batch = prompt.view().rows(), length = prompt.view().cols();
  Session session(run.model(), run.context(), batch, flags.common.chunk);
  run.open_state(session);
  const auto begin = std::chrono::steady_clock::now();
  {
    JointPrefill prefill(session, run.model(), run.context(), run.ranks().ranks(), flags.common.chunk);
    Progress progress("reading", prompt.view().count(), "tokens", {.quiet = run.quiet()});
    const auto advance = [&](int64_t n) { progress.advance(n * batch); };
    prefill.feed(prompt.view(), advance);
    prefill.finish(advance);
  }
  if (!run.ranks().first()) return 0;
  run.note_reading(prompt.view().count(), seconds_since(begin));
  const auto tokenizer = text_tokenizer_if_any("", run.directory(), run.vocabulary());
  Decoder decoder(session, run.sampler(), run.end_ids(tokenizer.get()));
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t t = 0; t < length; ++t) decoder.accept(b, prompt.view().row<int64_t>(b)[t]);
  }
  Buffer all(Dtype::kI64, {batch, length + flags.count});
  copy(prompt.view(), all.view().columns(0, length));
  const auto start = std::chrono::steady_clock::now();
  int64_t n = 0;
  const GenerateRun::Feed feed = [&](Session& again) { again.feed(all.view().columns(0, length + n)); };
  for (; n < flags.count; ++n) {
    copy(decoder.next([&] { return run.where_nonfinite(batch, feed); }), all.view().columns(length + n, 1));
  }
  run.close_state(session, feed);
  write_safetensors(flags.out, {{"tokens", all.view()}});
  run.report(session.position(), flags.count * batch, seconds_since(start), {{"out", flags.out}});
  return 0;
}

}  // namespace natrix
