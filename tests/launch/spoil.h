// A directory of good files, and ways to spoil them: what tests of malformed inputs are made of.
//
//   train.yaml, text.txt       a tiny experiment
//   model/, other/             what it trains, a JambaForCausalLM of bytes, and the same with a bit flipped
//   tokens.safetensors         "tokens" i64 [1, 9]
//   prefix.state               of model/, batch 1
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace natrix::test {

/// Made once; copy it and spoil the copy.
const std::string& good_files();

using Spoil = std::function<void(const std::string& directory)>;

/// Replaces the first `from` in a text file, which must have it.
Spoil replace(const std::string& file, const std::string& from, const std::string& to);
Spoil yaml(const std::string& from, const std::string& to);  // in train.yaml
Spoil put(const std::string& file, const std::string& content);
Spoil remove(const std::string& file);
Spoil truncate(const std::string& file, int64_t bytes);  // cuts so many off its end
Spoil flip_bit(const std::string& file);                 // in its middle
/// Sets a key of model/config.json.
Spoil config(const std::string& key, const nlohmann::json& value);
/// Edits the header of model/model.safetensors; the data stay as they are.
Spoil header(const std::function<void(nlohmann::json&)>& edit);
/// A file whose header claims so many bytes.
Spoil header_of(const std::string& file, uint64_t claimed, const std::string& text);
/// Writes tokens.safetensors: all tokens `value`, in this form.
Spoil tokens(const std::string& dtype, const std::vector<int64_t>& shape, int64_t value = 7);
/// Splits model/model.safetensors in two shards with an index, then edits the index.
Spoil sharded(const std::function<void(nlohmann::json&)>& edit);
Spoil both(Spoil first, Spoil second);

}  // namespace natrix::test
