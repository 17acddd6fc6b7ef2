// Natrix for C++ programs: open a model, read and write text, save and fork what it has read, compute
// gradients, train.
//
//   #include <natrix/natrix.h>                       find_package(Natrix REQUIRED)
//                                                    target_link_libraries(program natrix::natrix)
//
// Errors. Every function may throw natrix::Error. Its message is that of the natrix program: it names the
// file, key or tensor at fault, what was found and what was expected. Nothing is half-written then.
//
// Ownership. All objects own what they hold, and all arguments and results are plain values. A TextSession
// and an AdamWOptimizer share the model that made them and keep it alive, so objects may be destroyed in any
// order.
//
// Threads. Calls on a model and on all that shares it may come from any thread: they run one after the other,
// each with OpenOptions::threads threads of its own. A callback runs between two of them and may make such
// calls. One TextSession or AdamWOptimizer itself must not be used by two threads at once. Models that were
// opened separately are independent.
//
// Units and shapes. Losses are mean cross-entropies in nats. Tokens are ids in [0, vocab_size()), B rows of
// T: element (b, t) is at b · T + t, and so is everything else that is given as a flat array: the last extent
// is contiguous.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace natrix {

/// What any function here throws. exit_status() is what the natrix program would end with: 2 if what the
/// caller gave is at fault (a path, an option, a file's content), else 1 (I/O, memory, numbers that are not
/// finite).
class Error : public std::runtime_error {
 public:
  Error(const std::string& what, int exit_status);
  ~Error() override;
  int exit_status() const noexcept { return exit_status_; }

 private:
  int exit_status_;
};

/// A tensor under its name in the checkpoint or in a state file. Values are f32, whatever the model computes
/// in; a position, which some models carry, is exact up to 2^24 tokens.
struct FloatTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::vector<float> values;
};
using FloatTensors = std::vector<FloatTensor>;

/// Names and values are those of the natrix program's flags.
struct OpenOptions {
  std::string backend = "auto";  // or cuda, cpu, reference; auto: cuda if it is built and answers, else cpu
  std::string dtype = "fp32";    // or fp64 with reference, bf16 with cuda
  std::string weights = "f32";   // or bf16, int8: in memory, for a model that is only read
  std::string tokenizer = {};    // empty: the model's own
  int threads = 0;               // 0: as many as this process may use
  int64_t chunk = 2048;          // tokens of a row that are in memory at once; results do not depend on it
  bool trainable = false;        // allocates gradients, for gradients() and what changes the parameters
  /// Hears of oddities of the checkpoint. Empty: stderr does.
  std::function<void(const std::string&)> warn = {};
};

/// A log-probability is the natural logarithm of the softmax of the model's logits, before biases, penalties
/// and temperature.
struct TokenLogprob {
  int64_t token = 0;
  std::string text = {};  // bytes: a token may be a part of a character. Empty without a tokenizer
  double logprob = 0;
};

struct GeneratedToken : TokenLogprob {
  std::vector<TokenLogprob> top = {};  // the most likely tokens, the first one first
};

struct GenerateOptions {
  int64_t tokens = 128;         // at most
  double temp = 0.8;            // 0: greedy
  int64_t top_k = 40;           // 0: off
  double top_p = 0.95;          // 1: off
  double min_p = 0.05;          // 0: off
  double repeat_penalty = 1.0;  // 1: off; it looks back on the last 64 tokens
  uint64_t seed = 0;
  bool ignore_eos = false;                    // go on after the end of a document
  std::vector<std::string> stop = {};         // end the text where it contains one; are not part of it
  std::vector<int64_t> stop_ids = {};         // end it, besides end_of_text()
  std::map<int64_t, double> logit_bias = {};  // added to logits before all else; −infinity bans a token
  int64_t top_logprobs = 0;                   // length of GeneratedToken::top
  /// Hears of each token of the text, those of a stop string included. It may use the model.
  std::function<void(const GeneratedToken&)> token = {};
};

/// How a generation ended.
struct Finish {
  std::string reason = {};              // "length", "stop", or "callback" that returned false
  std::optional<int64_t> stop_id = {};  // the id that ended it, of end_of_text() or stop_ids
  std::string stop_text = {};           // the string of GenerateOptions::stop that ended it
};

struct Scores {
  double loss = 0;            // mean over the predictions
  int64_t predictions = 0;    // B · (T − 1)
  std::vector<float> logits;  // [B, T, vocab_size()]
};

struct GradientOptions {
  int64_t rows = 1;  // B; the tokens are [B, T]
  /// [B, T]; −1: none. Empty: the next token of the row, and none for the last.
  std::span<const int64_t> targets = {};
  std::optional<double> divisor = {};  // of the sum of the cross-entropies. Not set: the number of targets
  FloatTensors state = {};             // states before the first token. Empty: zero
  /// Gradient of another loss with respect to the states after the last token; the results are the gradients
  /// of the sum of both losses. Empty: zero.
  FloatTensors dstate = {};
};

struct Gradients {
  double loss = 0;          // sum of the cross-entropies / divisor
  int64_t predictions = 0;  // number of targets
  FloatTensors parameters;  // gradients under the checkpoint's names
  FloatTensors dstate;      // gradient with respect to GradientOptions::state
  FloatTensors state;       // states after the last token
};

class TextSession;

/// A model with its weights, its tokenizer and the threads or the device that it runs on. Copies share all of
/// it.
class LanguageModel {
 public:
  int64_t vocab_size() const;
  const std::string& backend() const;    // what runs: "cpu", "cuda" or "reference"
  const std::string& directory() const;  // of config.json

  /// Error if the model has no tokenizer that Natrix can read. Text is bytes and need not be UTF-8.
  std::vector<int64_t> tokenize(std::string_view text) const;
  std::string detokenize(std::span<const int64_t> tokens) const;
  /// The ids that end a document; may be empty.
  const std::vector<int64_t>& end_of_text() const;

  /// A session that has read nothing.
  TextSession session() const;

  /// Logits and loss of `rows` rows of tokens, each from its beginning.
  Scores score(std::span<const int64_t> tokens, int64_t rows = 1) const;

  /// Loss and gradients of the cross-entropy alone (no auxiliary loss of experts). Memory does not grow with
  /// T beyond the states at chunk boundaries. The model must be trainable.
  Gradients gradients(std::span<const int64_t> tokens, const GradientOptions& options = {}) const;

  /// All parameters, and other values in their place: any subset of them, by name, in their shapes. Trainable
  /// models.
  FloatTensors parameters() const;
  void set_parameters(const FloatTensors& values);

  /// Writes a checkpoint, a Hugging Face directory: weights, config.json, the tokenizer. Trainable models.
  void save(const std::string& directory) const;

 private:
  friend LanguageModel open(const std::string& path, const OpenOptions& options);
  friend class TextSession;
  friend class AdamWOptimizer;
  struct Impl;
  explicit LanguageModel(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

/// path: a Hugging Face directory, or the directory of a run (its latest checkpoint).
LanguageModel open(const std::string& path, const OpenOptions& options = {});

/// A text that a session is writing. The session must outlive it, stay where it is, and not be used otherwise meanwhile.
class TextWriter {
 public:
  TextWriter(TextWriter&&) noexcept;
  TextWriter& operator=(TextWriter&&) noexcept;
  ~TextWriter();

  /// Samples tokens until there is text to show, in whole UTF-8 characters. Nothing when the text has ended:
  /// TextSession::finish() says how. The session has then read what was returned.
  std::optional<std::string> next();

 private:
  friend class TextSession;
  struct Impl;
  explicit TextWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// One text that a model reads and continues, in memory that does not depend on the text's length. Moved, not
/// copied; fork() makes a copy.
class TextSession {
 public:
  TextSession(TextSession&&) noexcept;
  TextSession& operator=(TextSession&&) noexcept;
  ~TextSession();

  /// Appends text. Long texts may come in pieces; each is tokenized by itself.
  void read(std::string_view text);
  void read_tokens(std::span<const int64_t> tokens);
  int64_t position() const;  // tokens read and written so far

  /// Logits of the token that comes next, [vocab_size()]. At least one token must have been read.
  std::vector<float> logits();

  /// Samples tokens, appends each, and returns their text. piece(text) hears it as it comes, in whole UTF-8
  /// characters; a piece that returns false ends the generation. A session that has read nothing starts a
  /// document. What a callback throws ends it, too; a std::exception as an Error with its message.
  template <std::invocable<std::string_view> Piece>
  std::string generate(const GenerateOptions& options, Piece piece) {
    return write(options, [&piece](std::string_view text) {
      if constexpr (std::convertible_to<std::invoke_result_t<Piece&, std::string_view>, bool>) {
        return static_cast<bool>(piece(text));
      } else {
        return piece(text), true;
      }
    });
  }
  std::string generate(const GenerateOptions& options = {}) { return write(options, {}); }
  /// The same, pulled piece by piece.
  TextWriter writer(const GenerateOptions& options = {});
  /// The same with tokens; needs no tokenizer and knows no stop strings. The id that ends it is among them.
  std::vector<int64_t> generate_tokens(const GenerateOptions& options = {},
                                       const std::function<bool(int64_t token)>& piece = {});
  /// How the last of these ended.
  const Finish& finish() const;

  /// A file of constant size, as `natrix generate --state-out` writes it. load() continues from such a file,
  /// and refuses that of another model.
  void save(const std::string& path) const;
  void load(const std::string& path);
  /// An independent copy.
  TextSession fork() const;

 private:
  friend class LanguageModel;
  friend class TextWriter;
  struct Impl;
  explicit TextSession(std::unique_ptr<Impl> impl);
  std::string write(const GenerateOptions& options, const std::function<bool(std::string_view)>& piece);
  std::unique_ptr<Impl> impl_;
};

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
  double weight_decay = 0.1;    // of matrices only
  double clip_grad_norm = 1.0;  // 0: no clipping
};

/// AdamW with the moments of all parameters of a trainable model.
class AdamWOptimizer {
 public:
  explicit AdamWOptimizer(const LanguageModel& model, const AdamWOptions& options = {});
  AdamWOptimizer(AdamWOptimizer&&) noexcept;
  AdamWOptimizer& operator=(AdamWOptimizer&&) noexcept;
  ~AdamWOptimizer();

  /// Changes the parameters by one step. gradients: under the checkpoint's names, all of them, as
  /// Gradients::parameters. Returns their L2 norm before clipping.
  double step(const FloatTensors& gradients, double lr);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Adds the values of b to those of a, tensor by tensor; an empty `a` becomes b. For gradients of several
/// texts.
void accumulate(FloatTensors& a, const FloatTensors& b);

}  // namespace natrix
