#include "launch/commands/number_flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fmt/format.h>
#include <memory>
#include <random>

#include "configs/schema/field_types.h"
#include "configs/schema/source_text.h"
#include "configs/schema/suggest.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

/// Adds quotes if blanks in the text could be overlooked.
std::string shown_value(const std::string& text) {
  const bool plain = !text.empty() && text.find_first_of(" \t\r\n\v\f") == std::string::npos;
  return plain ? shortened(text) : '"' + shortened(text) + '"';
}

void read_flag(const std::string& flag, const Field& field, const std::string& text) {
  const Value value{.texts = {text}};
  if (field.read(value)) return;
  const std::string meant = accepted_spelling(field, value);
  throw CLI::ValidationError(flag,
                             fmt::format("{} is not {}{}", shown_value(text), field.expects,
                                         meant.empty() ? "" : fmt::format("; did you mean {}?", meant)));
}

/// type: the type of the value, for help and completion.
CLI::Option* add_flag(CLI::App& command, const std::string& names, const Field& field, const char* type,
                      const std::function<void(const std::string&)>& then = {}) {
  const auto flag = std::make_shared<std::string>();
  CLI::Option* option = command.add_option_function<std::string>(
      names,
      [=](const std::string& text) {
        read_flag(*flag, field, text);
        if (then) then(text);
      },
      fmt::format("{} ({})", field.help, field.expects));
  *flag = option->get_name();
  return option->type_name(type);
}

}  // namespace

void add_field_flag(CLI::App& command, const std::string& names, const Field& field) {
  add_flag(command, names, field, "VALUE")->default_str(field.print());
}

void add_integer_flag(CLI::App& command, const std::string& names, int64_t& to, int64_t least, int64_t most,
                      const std::string& help) {
  const Field field = integer_field("", to, least, most, help);
  add_flag(command, names, field, "INT")->default_str(field.print());
}

void add_integers_flag(CLI::App& command, const std::string& names, std::vector<int64_t>& to, int64_t least,
                       int64_t most, const std::string& help) {
  const auto one = std::make_shared<int64_t>();
  const Field field = integer_field("", *one, least, most, help);
  const auto flag = std::make_shared<std::string>();
  CLI::Option* option = command.add_option_function<std::vector<std::string>>(
      names,
      [=, &to](const std::vector<std::string>& texts) {
        for (const std::string& text : texts) {
          read_flag(*flag, field, text);
          to.push_back(*one);
        }
      },
      fmt::format("{}; may be given several times ({})", help, field.expects));
  *flag = option->get_name();
  option->allow_extra_args(false)->type_name("INT");
}

void add_number_flag(CLI::App& command, const std::string& names, double& to, double least, double most,
                     const std::string& help) {
  const Field field = number_field("", to, least, most, help);
  add_flag(command, names, field, "FLOAT")->default_str(field.print());
}

void add_seed_flag(CLI::App& command, const std::string& names, uint64_t& to, bool& drawn) {
  Field field = seed_field("", to, "Of the sampler; -1: a random one, which is then told");
  field.expects = "-1 or " + field.expects;
  field.read = [&to, &drawn, read = field.read](const Value& value) {
    drawn = value.texts[0] == "-1";
    if (drawn) to = std::random_device()();
    return drawn || read(value);
  };
  add_flag(command, names, field, "INT")->default_str(field.print());
}

void add_key_flag(CLI::App& command, const std::string& names, const std::string& key,
                  std::vector<std::string>& overrides) {
  const auto scratch =
      std::make_shared<ExperimentConfig>();  // the field must be bound to something; its value is not read
  const std::vector<Field> fields = fields_of(*scratch);
  const auto found = std::ranges::find(fields, key, &Field::key);
  require(found != fields.end(), "a flag stands for a key that there is not");
  Field field = *found;
  field.help = key;
  add_flag(command, names, field, "VALUE",
           [scratch, key, &overrides](const std::string& text) { overrides.push_back(key + "=" + text); });
}

}  // namespace natrix
