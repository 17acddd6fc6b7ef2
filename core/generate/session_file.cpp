#include "core/generate/session_file.h"

#include <algorithm>
#include <fmt/format.h>

#include "core/io/state_file.h"
#include "core/sequence/diagnose.h"

namespace natrix {
namespace {

constexpr const char* kPending = "pending";
constexpr int64_t kNothingPending = -1;

/// The token of each row that was fed last and has not run yet.
Buffer read_pending(const Safetensors& file, int64_t batch) {
  const View stored = file.at(kPending);
  Buffer pending(Dtype::kI64, {batch, 1});
  if (stored.dtype != Dtype::kI64 || stored.shape != pending.view().shape) {
    throw InputError(fmt::format("{}: tensor {} is {}; expected {}", file.path(), kPending,
                                 stored.to_string(), pending.view().to_string()));
  }
  copy(stored, pending.view());
  return pending;
}

void require_finite(const std::string& path, const std::vector<NamedTensor>& states, const char* outcome) {
  for (const NamedTensor& t : states) {
    if (!all_finite(t.view))
      throw NonfiniteError(fmt::format("{}: the state {} is not finite; {}", path, t.name, outcome));
  }
}

}  // namespace

void save_session(const std::string& path, const std::string& model_hash, const Session& session,
                  const std::string& note) {
  const ModelConfig& config = session.model().config();
  const CarryList carries = session.model().carries();
  const CarryStates states = complete_states(carries, session.states(), session.batch());
  const NamedStates named(carries, states);
  require_finite(path, named.tensors(), "it is not written");
  Buffer pending(Dtype::kI64, {session.batch(), 1});
  std::fill_n(pending.view().as<int64_t>(), session.batch(), kNothingPending);
  if (session.pending()) copy(session.pending(), pending.view());
  std::vector<NamedTensor> tensors = named.tensors();
  tensors.push_back({kPending, pending.view()});
  write_state_file(path,
                   {.model = model_hash,
                    .tokens = session.position(),
                    .about = fmt::format("{} d_model {}", config.stack(), config.d_model),
                    .note = note},
                   tensors);
}

std::string load_session(const std::string& path, const std::string& model_hash, Session& session) {
  const CarryList carries = session.model().carries();
  const StateFile file(path, model_hash);
  const CarryStates states =
      read_states(file.tensors(), carries, session.batch(), "the file belongs to another model", {kPending});
  const Buffer pending = read_pending(file.tensors(), session.batch());
  require_finite(path, NamedStates(carries, states).tensors(),
                 "nothing can go on from it; read the text again with a model that is finite");
  const int64_t* p = pending.view().as<int64_t>();
  const int64_t vocabulary = *session.model().config().vocab_size;
  const bool nothing = std::all_of(p, p + session.batch(), [](int64_t t) { return t == kNothingPending; });
  for (int64_t b = 0; b < session.batch() && !nothing; ++b) {
    if (p[b] < 0 || p[b] >= vocabulary) {
      throw InputError(fmt::format("{}: pending[{}] is {}; the model's vocabulary has {} entries", path, b,
                                   p[b], vocabulary));
    }
  }
  const int64_t read = file.info().tokens - (nothing ? 0 : 1);
  for (const auto& [key, rows] : states.appended()) {
    if (rows.length != read)
      throw InputError(
          fmt::format("{}: holds appended rows of {} tokens; expected those of {}", path, rows.length, read));
  }
  session.restore(states, nothing ? View{} : pending.view(), file.info().tokens);
  return file.info().note;
}

}  // namespace natrix
