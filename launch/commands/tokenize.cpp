// natrix tokenize: prints the ids of texts. natrix detokenize: the text of ids.
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fstream>
#include <iostream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/files/json.h"
#include "core/files/mapped_file.h"
#include "core/gguf/gguf_file.h"
#include "core/text/own_tokenizer.h"
#include "core/tokenizers/tokenizer.h"
#include "launch/api/model_files.h"
#include "launch/commands/commands.h"
#include "launch/commands/common.h"

namespace natrix {
namespace {

struct TokenizeFlags {
  std::string tokenizer, text, file, jsonl, key = "text";
  std::vector<int64_t> ids;
  bool has_text = false, json = false, special = false;
};

std::unique_ptr<Tokenizer> tokenizer_at(const std::string& path) {
  if (!is_gguf_path(path)) return make_tokenizer(path);
  return make_own_tokenizer(model_tokenizer(path), std::numeric_limits<int64_t>::max(),
                            "give another tokenizer");
}

/// The contents of a file; "-" is stdin.
std::string contents_of(const std::string& path) {
  if (path == "-") return {std::istreambuf_iterator<char>(std::cin), {}};
  return std::string(MappedFile(path).text());
}

/// Calls record(text, line number) for every line of a JSONL file that is not empty.
template <class Record>
void for_lines(const std::string& path, const Record& record) {
  const std::string all = contents_of(path);
  int64_t number = 0;
  for (size_t begin = 0; begin < all.size();) {
    const size_t end = std::min(all.find('\n', begin), all.size());
    ++number;
    const std::string_view line = std::string_view(all).substr(begin, end - begin);
    if (line.find_first_not_of(" \t\r") != std::string_view::npos)
      record(line, fmt::format("{}:{}", path, number));
    begin = end + 1;
  }
}

void print_ids(const TokenizeFlags& flags, const Tokenizer& tokenizer, std::string_view text) {
  std::vector<int64_t> ids = tokenizer.encode(text);
  if (flags.special) {
    const std::vector<int64_t> before = tokenizer.special_before(), after = tokenizer.special_after();
    ids.insert(ids.begin(), before.begin(), before.end());
    ids.insert(ids.end(), after.begin(), after.end());
  }
  flags.json ? print_json({{"ids", ids}}) : fmt::print("{}\n", fmt::join(ids, " "));
}

int tokenize(const TokenizeFlags& flags) {
  const int given = (flags.has_text ? 1 : 0) + (flags.file.empty() ? 0 : 1) + (flags.jsonl.empty() ? 0 : 1);
  if (given != 1) throw InputError("natrix tokenize takes one of --text, --file and --jsonl");
  const auto tokenizer = tokenizer_at(flags.tokenizer);
  if (flags.has_text) {
    print_ids(flags, *tokenizer, flags.text);
  } else if (!flags.file.empty()) {
    print_ids(flags, *tokenizer, contents_of(flags.file));
  } else {
    for_lines(flags.jsonl, [&](std::string_view line, const std::string& where) {
      const nlohmann::json record = parse_json(line, where);
      print_ids(flags, *tokenizer, JsonObject(record, where).text(flags.key));
    });
  }
  return 0;
}

/// The ids of a record: [1, 2] or {"ids": [1, 2]}.
std::vector<int64_t> ids_of(const nlohmann::json& record, const std::string& where) {
  const nlohmann::json& list = record.is_object() ? JsonObject(record, where).at("ids") : record;
  const auto is_id = [](const nlohmann::json& id) { return id.is_number_integer(); };
  if (!list.is_array() || !std::all_of(list.begin(), list.end(), is_id))
    throw InputError(where + R"(: expected a list of ids, or {"ids": [...]})");
  return list.get<std::vector<int64_t>>();
}

void print_text(const TokenizeFlags& flags, const Tokenizer& tokenizer, const std::vector<int64_t>& ids) {
  for (const int64_t id : ids) {
    if (id < 0 || id >= tokenizer.vocab_size())
      throw InputError(fmt::format("the id {} is outside of the vocabulary, which has {} ids", id,
                                   tokenizer.vocab_size()));
  }
  const std::string text = tokenizer.spell(ids);
  if (flags.json) {
    print_json({{"text", text}});
  } else {
    std::cout << text;  // as it is, so that a file comes back byte by byte
  }
}

int detokenize(const TokenizeFlags& flags) {
  if (flags.ids.empty() == flags.jsonl.empty()) throw InputError("natrix detokenize takes --ids or --jsonl");
  const auto tokenizer = tokenizer_at(flags.tokenizer);
  if (flags.jsonl.empty()) {
    print_text(flags, *tokenizer, flags.ids);
    if (!flags.json) std::cout << '\n';
  } else {
    for_lines(flags.jsonl, [&](std::string_view line, const std::string& where) {
      print_text(flags, *tokenizer, ids_of(parse_json(line, where), where));
    });
  }
  return 0;
}

}  // namespace

void add_tokenize(CLI::App& app, Action& chosen) {
  auto f = std::make_shared<TokenizeFlags>();
  CLI::App* c = add_command(app, "tokenize", "Token ids of text");
  as_path(c->add_option("--tokenizer", f->tokenizer,
                        "tokenizer.json, a directory with one, a GGUF file, or bytes")
              ->required());
  CLI::Option* text = c->add_option("--text", f->text, "A text");
  as_path(c->add_option("--file", f->file, "A file of text; - is stdin"));
  as_path(c->add_option("--jsonl", f->jsonl, "A file of JSON lines; one result a line"));
  c->add_option("--key", f->key, "Of JSON lines: the member that holds the text")->capture_default_str();
  c->add_flag("--special", f->special, "Adds the special tokens that begin and end a text");
  c->add_flag("--json", f->json, "Prints {\"ids\": [...]} for each text");
  c->footer("Example: natrix tokenize --tokenizer DIR --text 'In the beginning'");
  c->callback([f, &chosen, text] {
    f->has_text = text->count() > 0;
    chosen = [f] { return tokenize(*f); };
  });
}

void add_detokenize(CLI::App& app, Action& chosen) {
  auto f = std::make_shared<TokenizeFlags>();
  CLI::App* c = add_command(app, "detokenize", "Text of token ids");
  as_path(c->add_option("--tokenizer", f->tokenizer,
                        "tokenizer.json, a directory with one, a GGUF file, or bytes")
              ->required());
  c->add_option("--ids", f->ids, "Ids, separated by blanks or commas")->delimiter(',');
  as_path(c->add_option("--jsonl", f->jsonl,
                        "A file of JSON lines, as natrix tokenize --json prints; - is stdin"));
  c->add_flag("--json", f->json, "Prints {\"text\": ...} for each list of ids");
  c->footer("Example: natrix detokenize --tokenizer DIR --ids 818,262,3726");
  c->callback([f, &chosen] { chosen = [f] { return detokenize(*f); }; });
}

}  // namespace natrix
