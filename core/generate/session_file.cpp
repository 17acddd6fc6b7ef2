#include "core/generate/session_file.h"

#include <algorithm>
#include <fmt/format.h>

#include "core/io/state_file.h"
#include "core/sequence/diagnose.h"

namespace natrix {
namespace {

constexpr int64_t kNothingPending = -1;

void require_finite(const std::string& path, const std::vector<NamedTensor>& states, const char* outcome) {
  for (const NamedTensor& t : states) {
    if (!all_finite(t.view))
      throw NonfiniteError(fmt::format("{}: the state {} is not finite; {}", path, t.name, outcome));
  }
}

}  // namespace

void save_session(const std::string& path, const std::string& model_hash, const Session& session) {
  const ModelConfig& config = session.model().config();
  const CarryList carries = session.model().carries();
  CarryStates states = zero_states(carries, session.batch());
  for (const auto& [key, buffer] : session.states().entries()) copy(buffer.view(), states.at(key));
  require_finite(path, named_states(carries, states), "it is not written");
  Buffer pending(Dtype::kI64, {session.batch(), 1});
  std::fill_n(pending.view().as<int64_t>(), session.batch(), kNothingPending);
  if (session.pending()) copy(session.pending(), pending.view());
  std::vector<NamedTensor> tensors = named_states(carries, states);
  tensors.push_back({"pending", pending.view()});
  write_state_file(path,
                   {.model = model_hash,
                    .tokens = session.position(),
                    .about = fmt::format("{} d_model {}", config.stack(), config.d_model)},
                   tensors);
}

void load_session(const std::string& path, const std::string& model_hash, Session& session) {
  const CarryList carries = session.model().carries();
  CarryStates states = zero_states(carries, session.batch());
  Buffer pending(Dtype::kI64, {session.batch(), 1});
  std::vector<NamedTensor> tensors = named_states(carries, states);
  tensors.push_back({"pending", pending.view()});
  const StateInfo info = read_state_file(path, model_hash, tensors);
  require_finite(path, named_states(carries, states),
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
  session.restore(states, nothing ? View{} : pending.view(), info.tokens);
}

}  // namespace natrix
