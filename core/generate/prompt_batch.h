// Continues many prompts of different lengths together, one token of each a step. A step reads the weights
// once for all of them, which is most of what a token costs.
//
// On the CPU each prompt gets the bits that it would get alone: kernels compute a row without regard to the
// rows beside it, affine states are joined along the batch, and appended rows (keys and values) stay those of
// each sequence. So nothing depends on which prompts run together, or on when one of them ends. (cuBLAS
// chooses its kernel by a product's size, so on a GPU last bits may differ.)
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/generate/continuation.h"
#include "core/generate/sampler.h"
#include "core/generate/session.h"

namespace natrix {

struct PromptRow {
  std::vector<int64_t> prompt;
  Sampler sampler;
  Continuation continuation;
};

struct PromptBatchOptions {
  int64_t together = 64;  // prompts that are continued at once; the others wait for a place
  int64_t chunk = 2048;   // as Session's
  /// What all prompts go on from, one row; null: they begin documents. Prompt and prefix together have at
  /// least one token.
  const Session* prefix = nullptr;
};

/// What the caller learns. All of them may be empty. `row` is an index into the prompts.
struct PromptBatchHooks {
  std::function<void(size_t row, double seconds)> read = {};  // the prompt was read, in so many seconds
  /// A token was drawn from these logits.
  std::function<void(size_t row, std::span<const float> logits, int64_t token)> drawn = {};
  /// False: nobody wants the other rows, either, and run() returns.
  std::function<bool(size_t row)> ended = {};
  /// Ends the message of a NonfiniteError: where in this row the numbers stop being finite.
  std::function<std::string(size_t row)> explain = {};
};

class PromptBatch {
 public:
  /// References are borrowed.
  PromptBatch(Model& model, Context& ctx, std::span<PromptRow> rows, const PromptBatchOptions& options,
              PromptBatchHooks hooks);

  /// Continues every prompt until its rules end it. NonfiniteError names the row and the position.
  void run();

 private:
  struct Active {
    size_t row;
    CarryStates states;  // before the pending token; empty while the batch holds them
    int64_t pending;     // the token that runs next
  };
  void read(size_t row);
  void join();
  void leave();
  void step();
  void note_end(size_t row);
  int64_t draw(size_t row, std::span<const float> logits);
  size_t running() const;
  int64_t position_of(const PromptRow& r) const;

  Model& model_;
  Context& ctx_;
  std::span<PromptRow> rows_;
  PromptBatchOptions options_;
  PromptBatchHooks hooks_;
  bool wanted_ = true;
  size_t next_ = 0;  // the first prompt that has not been read
  std::vector<Active> active_;
  std::optional<Session> batch_;  // of the active prompts, in their order
};

}  // namespace natrix
