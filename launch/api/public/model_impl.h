// The data that a LanguageModel shares with its sessions.
#pragma once

#include <mutex>
#include <natrix/natrix.h>
#include <string>

#include "core/tokenizers/tokenizer.h"
#include "kernels/base/context.h"
#include "launch/api/machine.h"
#include "launch/assemble.h"

namespace natrix {

struct LanguageModel::Impl {
  Impl(const std::string& path, const OpenOptions& options);

  int64_t vocabulary() const { return *config.vocab_size; }
  /// InputError if there is none.
  const Tokenizer& text() const;
  /// hash_weights() of the weights as they are now.
  std::string hash() const;
  void require_trainable(const char* what) const;
  /// Copies host tokens into [rows, T]; InputError unless they are.
  Buffer token_rows(std::span<const int64_t> tokens, int64_t rows) const;

  std::mutex mutex;  // held while the context is used
  MachineOptions machine;
  std::string dir, tokenizer_spec, backend_name;
  int64_t chunk;
  bool trainable;
  ModelConfig config;  // the checkpoint's, with its auxiliary losses
  Context ctx;
  std::unique_ptr<Tokenizer> tokenizer;  // null if natrix cannot read the model's
  std::vector<int64_t> ends;
  AssembledModel model;
  std::string hash_when_opened;  // of a model that is only read
};

/// Fills parts of Param::value or Param::grad from host tensors. InputError for an unknown name, another
/// shape, and, if `all` are needed, for a missing one.
void fill_parts(Model& model, View Param::*which, const FloatTensors& from, bool all);
FloatTensors parts_of(Model& model, View Param::*which);

}  // namespace natrix
