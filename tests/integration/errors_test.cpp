// Malformed inputs, a line each. Every one ends with the exit status of the contract and exactly one message,
// which names the culprit and says what was expected or what to do; nothing goes to stdout, nothing is left
// behind, nothing hangs.
#include <algorithm>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <iostream>
#include <nlohmann/json.hpp>

#include "tests/kernels/cases.h"
#include "tests/launch/spoil.h"
#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using Words = std::vector<std::string>;

constexpr int kFailed = 1, kBadInput = 2;  // exit statuses

struct MalformedInput {
  std::string name;
  Words command;  // "@" stands for the directory with the good files
  Spoil spoil;
  Words told;  // what the message must hold
  int status = kBadInput;
  int64_t most_file_bytes = -1;  // a disk that is full after so many
};

std::ostream& operator<<(std::ostream& out, const MalformedInput& c) {
  return out << c.name;
}

Words train(const Words& overrides = {}) {
  Words command = {"train", "@/train.yaml", "run.dir=@/run"};
  command.insert(command.end(), overrides.begin(), overrides.end());
  return command;
}

const Words kScore = {"score", "@/model", "--tokens", "@/tokens.safetensors", "--out", "@/scores", "--json"};
const Words kContinue = {"generate",   "@/model",        "-p",    "x", "-n", "1",
                         "--state-in", "@/prefix.state", "--json"};
const Spoil kNothing = [](const std::string&) {};
const std::string kPointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4665\nsize 526\n";
const std::string kExpert = "model.layers.0.feed_forward.experts.1.up_proj.weight";

// clang-format off
const MalformedInput kYaml[] = {
    {"unknown_key", train(), yaml("d_model", "d_modle"), {"train.yaml:3", "d_modle", "did you mean", "d_model"}},
    {"unknown_section", train(), yaml("optimizer", "optimiser"), {"train.yaml:", "optimiser", "optimizer"}},
    {"key_in_the_wrong_section", train(), yaml("{lr:", "{steps: 3, lr:"), {"optimizer.steps", "train.steps"}},
    {"repeated_key", train(), yaml("d_model: 16", "d_model: 16\n  d_model: 17"), {"train.yaml:4", "model.d_model", "repeated"}},
    {"repeated_section", train(), yaml("log:", "train: {steps: 3}\nlog:"), {"train.yaml:", "train", "repeated"}},
    {"text_for_a_number", train(), yaml("d_model: 16", "d_model: sixteen"), {"train.yaml:3", "model.d_model", "sixteen", "integer"}},
    {"quoted_number", train(), yaml("d_model: 16", "d_model: \"16\""), {"train.yaml:3", "model.d_model", "integer"}},
    {"fraction_for_an_integer", train(), yaml("steps: 40", "steps: 40.5"), {"train.steps", "40.5", "integer"}},
    {"negative", train(), yaml("steps: 40", "steps: -40"), {"train.steps", "-40", "integer from 1"}},
    {"overflowing", train(), yaml("steps: 40", "steps: 99999999999999999999"), {"train.steps", "99999999999999999999"}},
    {"not_a_number", train(), yaml("lr: 1.0e-2", "lr: nan"), {"optimizer.lr", "nan"}},
    {"list_for_a_number", train(), yaml("d_model: 16", "d_model: [16]"), {"train.yaml:3", "model.d_model", "[16]"}},
    {"section_for_a_number", train(), yaml("d_model: 16", "d_model: {a: 16}"), {"train.yaml:3", "model.d_model"}},
    {"number_for_a_section", train(), yaml("{every: 1}", "1"), {"train.yaml:", "log", "every"}},
    {"unknown_choice", train(), yaml("chunk: 8", "chunk: 8, gradient: excat"), {"sequence.gradient", "excat", "exact"}},
    {"tab", train(), yaml("  d_model", "\td_model"), {"train.yaml:3", "tab"}},
    {"binary", train(), put("train.yaml", std::string("\x7f" "ELF\x02\x01\0\0\xff\xfe", 10)), {"train.yaml:1"}},
    {"zero_byte", train(), yaml("16", std::string("1\0006", 3)), {"train.yaml:3"}},
    {"unclosed_bracket", train(), yaml("d_ff: 16}", "d_ff: 16"), {"train.yaml:"}},
    {"unclosed_quote", train(), yaml("pattern: ME", "pattern: \"ME"), {"train.yaml:2", "quote"}},
    {"anchor", train(), yaml("d_model: 16", "d_model: &d 16"), {"train.yaml:3", "anchor"}},
    {"two_documents", train(), yaml("log:", "---\nlog:"), {"train.yaml:", "document"}},
    {"empty_file", train(), put("train.yaml", ""), {"train.yaml:1", "no keys", "model.pattern"}},
    {"a_text_and_no_keys", train(), put("train.yaml", "In the beginning"), {"train.yaml:1", "In the beginning"}},
    {"no_such_config", {"train", "@/gone.yaml"}, kNothing, {"gone.yaml", "No such file"}},
    {"directory_as_config", {"train", "@/model"}, kNothing, {"/model", "directory", "YAML"}},
    {"extends_itself", train(), yaml("log:", "extends: train.yaml\nlog:"), {"extends", "train.yaml", "circle"}},
    {"extends_in_a_circle", train(), both(yaml("log:", "extends: b.yaml\nlog:"), put("b.yaml", "extends: train.yaml")), {"circle", "b.yaml"}},
    {"extends_what_is_not_there", train(), yaml("log:", "extends: base.yaml\nlog:"), {"base.yaml", "No such file"}},
    {"override_without_a_value", train({"train.steps"}), kNothing, {"train.steps", "section.key=value"}},
    {"override_of_an_unknown_key", train({"train.step=3"}), kNothing, {"command line", "train.step", "train.steps"}},
};

const MalformedInput kExperiments[] = {
    {"no_pattern", train(), yaml("  pattern: ME\n", ""), {"model.pattern", "missing"}},
    {"no_width", train(), yaml("  d_model: 16\n", ""), {"model.d_model", "missing"}},
    {"unknown_layer", train({"model.pattern=MX"}), kNothing, {"model.pattern", "'X'", "M (Mamba-1)"}},
    {"more_chosen_than_experts", train({"model.moe.top_k=5"}), kNothing, {"model.moe.top_k", "5 of 4 experts"}},
    {"chunk_longer_than_the_sequence", train({"sequence.chunk=33"}), kNothing, {"sequence.chunk", "33", "sequence.length 32"}},
    {"several_ranks", train({"parallel.dp=2"}), kNothing, {"parallel", "dp 2", "1 was started", "mpirun -n 2"}},
    {"bf16", train({"device.dtype=bf16"}), kNothing, {"device.dtype", "bf16", "fp32"}},
    {"fp64_on_the_cpu_backend", train({"device.dtype=fp64"}), kNothing, {"device.dtype", "fp64", "reference"}},
    {"no_data", train(), yaml("data: {train: [text.txt]}\n", ""), {"data.train", "missing"}},
    {"data_not_there", train(), remove("text.txt"), {"data.train", "text.txt", "does not exist"}},
    {"data_empty", train(), put("text.txt", ""), {"data.train", "text.txt", "no text"}},
    {"data_shorter_than_a_sequence", train(), put("text.txt", "short"), {"text.txt", "sequence.length", "more text"}},
    {"data_shorter_than_a_batch_in_order", train({"data.order=sequential"}), put("text.txt", std::string(40, 'x')), {"text.txt", "train.batch_size"}},
    {"held_out_data_not_there", train({"data.eval=@/gone.txt"}), kNothing, {"data.eval", "gone.txt", "does not exist"}},
    {"data_given_twice", train({"data.batches=@/tokens.safetensors"}), kNothing, {"data.batches", "data.train"}},
    {"batches_of_another_shape", train({"data.batches=@/tokens.safetensors", "data.train=[]", "model.vocab_size=257"}), kNothing, {"tokens.safetensors", "i64[1, 9]"}},
    {"unknown_tokenizer", train({"data.tokenizer=gpt2"}), kNothing, {"gpt2", "bytes"}},
    {"vocabulary_too_small", train({"model.vocab_size=100"}), kNothing, {"100", "257"}},
    {"micro_batches_do_not_fit", train({"train.micro_batch_size=3", "train.batch_size=4"}), kNothing, {"train.micro_batch_size", "3", "4"}},
    {"carry_without_order", train({"sequence.carry_state=true"}), kNothing, {"sequence.carry_state", "data.order"}},
    {"unknown_optimizer", train({"optimizer.name=sgd"}), kNothing, {"optimizer.name", "sgd", "adamw"}},
    {"start_not_there", train({"model.init_from=@/gone"}), kNothing, {"gone", "config.json"}},
    {"start_of_another_width", train({"model.init_from=@/model", "model.d_model=24"}), kNothing, {"model.d_model", "init_from"}},
    {"absurdly_large", train({"model.d_model=16777216", "model.repeat=1000"}), kNothing, {"model.d_model", "weights", "multiply"}},
    {"more_memory_than_there_is", train({"model.d_model=4000000"}), kNothing, {"out of memory", "smaller"}, kFailed},
    {"verify_of_no_chunk", {"verify", "@/train.yaml", "--chunks", "8,zero"}, kNothing, {"--chunks", "zero"}},
};

const MalformedInput kModels[] = {
    {"header_longer_than_the_file", kScore, header_of("model/model.safetensors", 1000, "{}"), {"model.safetensors", "1000 bytes", "truncated"}},
    {"header_of_absurd_size", kScore, header_of("model/model.safetensors", ~uint64_t{0} >> 1, "{}"), {"model.safetensors", "9223372036854775807"}},
    {"header_no_json", kScore, header_of("model/model.safetensors", 5, "{oops"), {"model.safetensors", "not valid JSON"}},
    {"weights_empty", kScore, put("model/model.safetensors", ""), {"model.safetensors", "empty"}},
    {"weights_not_fetched", kScore, put("model/model.safetensors", kPointer), {"model.safetensors", "Git LFS pointer", "git lfs pull"}},
    {"weights_not_fetched_for_text", {"eval", "@/model", "--data", "@/text.txt"}, put("model/model.safetensors", kPointer), {"model.safetensors", "git lfs pull"}},
    {"shard_not_fetched", kScore, both(sharded([](json&) {}), put("model/model-00002-of-00002.safetensors", kPointer)), {"model-00002-of-00002.safetensors", "git lfs pull"}},
    {"index_not_fetched", kScore, both(sharded([](json&) {}), put("model/model.safetensors.index.json", kPointer)), {"index.json", "git lfs pull"}},
    {"config_not_fetched", kScore, put("model/config.json", kPointer), {"config.json", "Git LFS pointer", "git lfs pull"}},
    {"tokenizer_not_fetched", {"eval", "@/model", "--data", "@/text.txt"}, put("model/tokenizer.json", kPointer), {"tokenizer.json", "Git LFS pointer", "git lfs pull"}},
    {"tokenizer_not_fetched_for_a_start", train({"model.init_from=@/model"}), put("model/tokenizer.json", kPointer), {"tokenizer.json", "git lfs pull"}},
    {"weights_an_html_page", kScore, put("model/model.safetensors", "<!DOCTYPE html><html>404</html>"), {"model.safetensors", "HTML"}},
    {"config_an_html_page", kScore, put("model/config.json", "<!DOCTYPE html><html>404</html>"), {"config.json", "HTML"}},
    {"weights_a_zip", kScore, put("model/model.safetensors", "PK\3\4 and so on"), {"model.safetensors", "zip", "PyTorch"}},
    {"weights_without_embedding_and_head", kScore, header([](json& h) { h["other"] = h["model.embed_tokens.weight"]; h.erase("model.embed_tokens.weight"); }), {"1 missing", "model.embed_tokens.weight", "lm_head.weight", "1 unexpected", "other"}},
    {"head_alone_of_an_untied_model", kScore, both(config("tie_word_embeddings", false), header([](json& h) { h["lm_head.weight"] = h["model.embed_tokens.weight"]; h.erase("model.embed_tokens.weight"); })), {"1 missing", "model.embed_tokens.weight", "lm_head.weight"}},
    {"config_with_an_infinite_width", kScore, replace("model/config.json", "\"hidden_size\": 16", "\"hidden_size\": Infinity"), {"config.json", "hidden_size", "Infinity"}},
    {"config_with_an_eps_of_nan", kScore, replace("model/config.json", "\"rms_norm_eps\": 1e-06", "\"rms_norm_eps\": NaN"), {"config.json", "rms_norm_eps", "NaN"}},
    {"config_with_nan_for_a_key", kScore, replace("model/config.json", "{", "{NaN: 3,"), {"config.json", "not valid JSON at line 1, column 2"}},
    {"weights_truncated", kScore, truncate("model/model.safetensors", 100), {"model.safetensors", "truncated"}},
    {"weights_with_a_tail", kScore, [](auto& d) { put("model/model.safetensors", read_file(d + "/model/model.safetensors") + "tail")(d); }, {"model.safetensors", "bytes of data"}},
    {"tensors_overlap", kScore, header([](json& h) { h[kExpert]["data_offsets"] = {0, 1024}; }), {"model.safetensors", "begins at byte 0", "overlaps"}},
    {"offsets_beyond_the_file", kScore, header([](json& h) { h[kExpert]["data_offsets"] = {1 << 30, (1 << 30) + 1024}; }), {kExpert, "truncated"}},
    {"offsets_backwards", kScore, header([](json& h) { h[kExpert]["data_offsets"] = {1024, 0}; }), {kExpert, "ends before"}},
    {"offsets_that_overflow", kScore, header([](json& h) { h[kExpert]["data_offsets"] = {~uint64_t{0} - 1023, ~uint64_t{0}}; }), {kExpert, "2^63"}},
    {"offsets_negative", kScore, header([](json& h) { h[kExpert]["data_offsets"] = {-1024, 0}; }), {kExpert, "whole numbers"}},
    {"shape_that_overflows", kScore, header([](json& h) { h[kExpert]["shape"] = {int64_t{1} << 32, int64_t{1} << 32}; }), {kExpert, "overflow"}},
    {"shape_of_sixty_extents", kScore, header([](json& h) { h[kExpert]["shape"] = std::vector<int>(60, 1); }), {kExpert, "60 dimensions"}},
    {"shape_of_another_model", kScore, header([](json& h) { h[kExpert]["shape"] = {8, 32}; }), {kExpert, "[8, 32]", "[16, 16]"}},
    {"dtype_unknown", kScore, header([](json& h) { h[kExpert]["dtype"] = "F8_E4M3"; }), {kExpert, "F8_E4M3", "BF16"}},
    {"dtype_of_whole_numbers", kScore, header([](json& h) { h[kExpert]["dtype"] = "I32"; }), {kExpert, "i32", "floating point"}},
    {"tensor_missing", kScore, header([](json& h) { h["other"] = h[kExpert]; h.erase(kExpert); }), {"1 missing", kExpert, "1 unexpected", "other"}},
    {"tensor_added", kScore, header([](json& h) { h["empty"] = {{"dtype", "F32"}, {"shape", {0}}, {"data_offsets", {0, 0}}}; }), {"unexpected", "empty"}},
    {"weights_gone", kScore, remove("model/model.safetensors"), {"/model", "no weights", "model.safetensors"}},
    {"weights_as_pickle", kScore, both(remove("model/model.safetensors"), put("model/pytorch_model.bin", "x")), {"pytorch_model.bin", "safetensors"}},
    {"shard_gone", kScore, both(sharded([](json&) {}), remove("model/model-00002-of-00002.safetensors")), {"index.json", "model-00002-of-00002.safetensors", "copy the whole checkpoint"}},
    {"shard_truncated", kScore, both(sharded([](json&) {}), truncate("model/model-00001-of-00002.safetensors", 8)), {"model-00001-of-00002.safetensors", "truncated"}},
    {"shard_without_its_tensor", kScore, sharded([](json& i) { i["weight_map"][kExpert] = "model-00002-of-00002.safetensors"; }), {kExpert, "model-00002"}},
    {"shard_outside_of_the_directory", kScore, sharded([](json& i) { i["weight_map"][kExpert] = "../x.safetensors"; }), {kExpert, "same directory"}},
    {"index_without_a_map", kScore, sharded([](json& i) { i.erase("weight_map"); }), {"index.json", "weight_map"}},
    {"config_gone", kScore, remove("model/config.json"), {"/model", "config.json"}},
    {"config_no_json", kScore, put("model/config.json", "{"), {"config.json", "not valid JSON"}},
    {"config_with_a_key_twice", kScore, replace("model/config.json", "{", "{\"vocab_size\": 3,"), {"config.json", "vocab_size", "twice"}},
    {"config_of_another_class", kScore, config("model_type", "gpt2"), {"config.json", "gpt2", "not supported"}},
    {"config_with_attention", kScore, both(config("attn_layer_period", 1), config("attn_layer_offset", 0)), {"config.json", "attention"}},
    {"config_of_absurd_width", kScore, config("hidden_size", int64_t{1} << 40), {"config.json", "hidden_size"}},
    {"config_of_absurd_depth", kScore, config("num_hidden_layers", 1000000000), {"config.json", "num_hidden_layers"}},
    {"config_of_absurd_product", kScore, both(config("hidden_size", 1 << 24), config("intermediate_size", 1 << 24)), {"config.json", "parameters"}},
    {"config_of_no_width", kScore, config("hidden_size", 0), {"config.json", "hidden_size"}},
    {"config_with_a_text_for_a_number", kScore, config("num_experts", "four"), {"config.json", "num_experts", "four"}},
    {"config_without_a_size", kScore, replace("model/config.json", "hidden_size", "hidden"), {"config.json", "hidden_size", "missing"}},
    {"a_file_for_a_model", {"score", "@/text.txt", "--tokens", "@/tokens.safetensors", "--out", "@/o"}, kNothing, {"text.txt", "not a directory"}},
    {"no_directory_for_a_model", kScore, remove("model"), {"/model", "no such file", "config.json"}},
};

const MalformedInput kTokensAndStates[] = {
    {"tokens_not_there", kScore, remove("tokens.safetensors"), {"tokens.safetensors", "No such file"}},
    {"tokens_no_safetensors", kScore, put("tokens.safetensors", "In the beginning"), {"tokens.safetensors", "not a safetensors file"}},
    {"tokens_under_another_name", kScore, replace("tokens.safetensors", "\"tokens\"", "\"tokenz\""), {"tokens.safetensors", "tokens", "tokenz"}},
    {"tokens_beyond_the_vocabulary", kScore, tokens("I64", {2, 3}, 257), {"tokens[0, 0] is 257", "257 entries"}},
    {"tokens_negative", kScore, tokens("I64", {2, 3}, -1), {"tokens[0, 0] is -1"}},
    {"tokens_of_32_bits", kScore, tokens("I32", {1, 9}), {"tokens.safetensors", "i32", "i64"}},
    {"tokens_of_rank_one", kScore, tokens("I64", {9}), {"tokens.safetensors", "[9]", "[batch, length]"}},
    {"tokens_none", kScore, tokens("I64", {1, 0}), {"tokens.safetensors", "[1, 0]", "at least one"}},
    {"gradients_of_one_token", {"gradients", "@/model", "--tokens", "@/tokens.safetensors", "--out", "@/o"}, tokens("I64", {3, 1}), {"tokens.safetensors", "two tokens"}},
    {"state_not_there", kContinue, remove("prefix.state"), {"prefix.state", "No such file"}},
    {"state_truncated", kContinue, truncate("prefix.state", 10), {"prefix.state", "truncated"}},
    {"state_damaged", kContinue, flip_bit("prefix.state"), {"prefix.state"}},
    {"state_of_another_model", {"generate", "@/other", "-p", "x", "--state-in", "@/prefix.state"}, kNothing, {"prefix.state", "another model"}},
    {"state_of_another_batch", {"generate", "@/model", "--tokens", "@/tokens.safetensors", "--out", "@/o", "--state-in", "@/prefix.state"}, tokens("I64", {2, 3}), {"prefix.state"}},
    {"weights_for_a_state", {"generate", "@/model", "-p", "x", "--state-in", "@/model/model.safetensors"}, kNothing, {"not a state file", "--state-out"}},
    {"weights_for_inspect", {"inspect", "@/model/model.safetensors", "--json"}, kNothing, {"not a state file"}},
};

const MalformedInput kUsage[] = {
    {"no_command", {}, kNothing, {"subcommand", "--help"}},
    {"unknown_command", {"trian", "@/train.yaml"}, kNothing, {"trian", "--help"}},
    {"unknown_flag", {"score", "@/model", "--tokes", "x"}, kNothing, {"--tokes", "natrix score --help"}},
    {"argument_missing", {"score"}, kNothing, {"MODEL", "required"}},
    {"flag_missing", {"score", "@/model", "--out", "@/o"}, kNothing, {"--tokens", "required"}},
    {"value_missing", {"generate", "@/model", "-n"}, kNothing, {"--n-predict"}},
    {"chunk_of_nothing", {"score", "@/model", "--tokens", "x", "--out", "y", "--chunk", "0"}, kNothing, {"--chunk", "0"}},
    {"text_for_a_flag_of_numbers", {"eval", "@/model", "--data", "x", "--chunk", "many"}, kNothing, {"--chunk", "many"}},
    {"unknown_backend", {"eval", "@/model", "--data", "@/text.txt", "--backend", "tpu"}, kNothing, {"--backend", "tpu", "cpu"}},
    {"fp64_on_the_cpu", {"eval", "@/model", "--data", "@/text.txt", "--dtype", "fp64"}, kNothing, {"--dtype", "fp64", "reference"}},
    {"unknown_weights", {"generate", "@/model", "-p", "x", "--weights", "q4_0"}, kNothing, {"--weights q4_0", "f32, bf16, int8"}},
    {"int8_of_doubles", {"eval", "@/model", "--data", "@/text.txt", "--backend", "reference", "--dtype", "fp64", "--weights", "int8"}, kNothing, {"--weights int8", "--dtype fp64"}},
    {"probability_beyond_one", {"generate", "@/model", "-p", "x", "--top-p", "2"}, kNothing, {"--top-p"}},
    {"two_prompts", {"generate", "@/model", "-p", "x", "-f", "@/text.txt"}, kNothing, {"--prompt", "--prompt-file"}},
    {"prompt_file_not_there", {"generate", "@/model", "-f", "@/gone.txt"}, kNothing, {"--prompt-file", "gone.txt"}},
    {"directory_for_a_prompt_file", {"generate", "@/model", "-f", "@/model"}, kNothing, {"--prompt-file", "/model"}},
    {"out_without_tokens", {"generate", "@/model", "-p", "x", "--out", "@/o"}, kNothing, {"--tokens", "--out"}},
    {"text_for_a_model_without_bytes", {"generate", std::string(NATRIX_TEST_DATA) + "/oracles/mamba_tiny/model", "-p", "x"}, kNothing, {"vocabulary", "--tokenizer"}},
    {"held_out_text_not_there", {"eval", "@/model", "--data", "@/gone.txt"}, kNothing, {"--data", "gone.txt"}},
    {"held_out_text_empty", {"eval", "@/model", "--data", "@/text.txt"}, put("text.txt", ""), {"--data", "text.txt", "no text"}},
    {"plot_of_no_run", {"plot", "@/gone"}, kNothing, {"gone"}},
    {"shards_of_nothing", {"data", "@/gone", "--out", "@/shards"}, kNothing, {"gone", "does not exist"}},
};

// A directory that nobody may write to: root may write to all others.
const std::string kReadOnly = "/sys/natrix";

const MalformedInput kDisks[] = {
    {"scores_on_a_full_disk", kScore, kNothing, {"cannot write", "/scores", "File too large", "make room"}, kFailed, 4096},
    {"gradients_on_a_full_disk", {"gradients", "@/model", "--tokens", "@/tokens.safetensors", "--out", "@/o"}, kNothing, {"cannot write", "/o"}, kFailed, 4096},
    {"state_on_a_full_disk", {"generate", "@/model", "-p", "x", "-n", "0", "--state-out", "@/s", "--json"}, kNothing, {"cannot write", "/s"}, kFailed, 500},
    {"shards_on_a_full_disk", {"data", "@/text.txt", "--out", "@/shards"}, kNothing, {"cannot write", "/shards"}, kFailed, 4096},
    {"scores_into_no_directory", {"score", "@/model", "--tokens", "@/tokens.safetensors", "--out", "@/gone/o"}, kNothing, {"cannot write", "/gone/o"}},
    {"scores_over_a_directory", {"score", "@/model", "--tokens", "@/tokens.safetensors", "--out", "@/model"}, kNothing, {"cannot write", "/model"}},
    {"run_below_a_file", train({"run.dir=@/text.txt/run"}), kNothing, {"run.dir", "text.txt/run"}},
    {"run_where_nobody_may_write", train({"run.dir=" + kReadOnly}), kNothing, {"run.dir", kReadOnly, "choose"}},
    {"shards_where_nobody_may_write", {"data", "@/text.txt", "--out", kReadOnly}, kNothing, {kReadOnly}},
};

// A build without CUDA, or a machine where no device answers; and what a device cannot do.
const std::vector<MalformedInput> kWithoutDevice = {
    {"cuda_in_a_run", train({"device.backend=cuda"}), kNothing, {"device.backend", "cuda", "cpu"}},
    {"cuda_in_a_command", {"eval", "@/model", "--data", "@/text.txt", "--backend", "cuda"}, kNothing, {"--backend cuda", "use --backend cpu"}},
};
const std::vector<MalformedInput> kWithDevice = {
    {"fp64_on_cuda", {"eval", "@/model", "--data", "@/text.txt", "--backend", "cuda", "--dtype", "fp64"}, kNothing, {"--dtype", "fp64", "cuda", "reference"}},
};

// clang-format on

/// Without the line that AddressSanitizer adds where there is not enough memory.
std::string said_by_natrix(const std::string& err) {
  const std::string sanitizer = "WARNING: AddressSanitizer failed to allocate";
  const size_t end = err.find('\n');
  return err.substr(0, end).find(sanitizer) == std::string::npos ? err : err.substr(end + 1);
}

class Malformed : public ::testing::TestWithParam<MalformedInput> {};

TEST_P(Malformed, EndsWithOneMessageAndLeavesNothing) {
  const MalformedInput& c = GetParam();
  const ScratchDir scratch;
  fs::copy(good_files(), scratch.path(), fs::copy_options::recursive);
  c.spoil(scratch.path());
  Words command = c.command;
  for (std::string& word : command) {
    if (const size_t at = word.find('@'); at != std::string::npos) word.replace(at, 1, scratch.path());
  }
  const auto before = snapshot(scratch.path());
  Outcome outcome = natrix_program(command, {.most_file_bytes = c.most_file_bytes});
  outcome.err = said_by_natrix(outcome.err);
  RecordProperty("message", outcome.err);
  EXPECT_EQ(outcome.status, c.status);
  EXPECT_EQ(outcome.out, "");
  EXPECT_TRUE(outcome.err.starts_with("natrix: ") && outcome.err.ends_with("\n")) << outcome.err;
  EXPECT_EQ(outcome.err.find("\nnatrix: "), std::string::npos) << "two messages: " << outcome.err;
  EXPECT_EQ(outcome.err.find("internal error"), std::string::npos) << outcome.err;
  for (const std::string& part : c.told) EXPECT_THAT(outcome.err, HasSubstr(part));
  EXPECT_EQ(snapshot(scratch.path()), before) << "something was left behind";
}

const auto kName = [](const auto& info) { return info.param.name; };
INSTANTIATE_TEST_SUITE_P(Yaml, Malformed, ::testing::ValuesIn(kYaml), kName);
INSTANTIATE_TEST_SUITE_P(Experiment, Malformed, ::testing::ValuesIn(kExperiments), kName);
INSTANTIATE_TEST_SUITE_P(Model, Malformed, ::testing::ValuesIn(kModels), kName);
INSTANTIATE_TEST_SUITE_P(TokensAndState, Malformed, ::testing::ValuesIn(kTokensAndStates), kName);
INSTANTIATE_TEST_SUITE_P(Usage, Malformed, ::testing::ValuesIn(kUsage), kName);
INSTANTIATE_TEST_SUITE_P(Device, Malformed, ::testing::ValuesIn(has_cuda() ? kWithDevice : kWithoutDevice),
                         kName);
INSTANTIATE_TEST_SUITE_P(Disk, Malformed, ::testing::ValuesIn(kDisks), kName);

}  // namespace
}  // namespace natrix::test
