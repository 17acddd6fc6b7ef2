// Reads --prompt or --prompt-file into a session.
#pragma once

#include "core/generate/decoder.h"
#include "core/tokenizers/tokenizer.h"
#include "launch/generate/generate_run.h"

namespace natrix {

/// Streams the prompt through the model, so that a file of any size needs no memory. Every rank reads all of
/// the text, which costs nothing beside what the model does with its part. decoder: gets the tokens for the
/// repetition penalty; may be null. Returns the number of tokens.
int64_t read_prompt(GenerateRun& run, Session& session, Decoder* decoder, const Tokenizer& tokenizer,
                    const Ranks& ranks);

}  // namespace natrix
