// Flags that take numbers. The parser of YAML keys reads them (configs/schema/field_types.h), so a number is written
// the same way everywhere. A refused value ends the program with status 2 and a message that names the flag,
// the value, and what is allowed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace natrix {

struct Field;

/// names: as CLI11 takes them, "-n,--n-predict". `to` holds the default, which --help shows.
void add_integer_flag(CLI::App& command, const std::string& names, int64_t& to, int64_t least, int64_t most,
                      const std::string& help);
/// The same for a flag that may be given several times, one number each time.
void add_integers_flag(CLI::App& command, const std::string& names, std::vector<int64_t>& to, int64_t least,
                       int64_t most, const std::string& help);
void add_number_flag(CLI::App& command, const std::string& names, double& to, double least, double most,
                     const std::string& help);
/// The same for any other kind of field.
void add_field_flag(CLI::App& command, const std::string& names, const Field& field);

/// A seed. For -1 a random seed is drawn here, and `drawn` is set.
void add_seed_flag(CLI::App& command, const std::string& names, uint64_t& to, bool& drawn);

/// A flag that is another name of a key of the experiment: "--chunk" for sequence.chunk. Appends key=value.
void add_key_flag(CLI::App& command, const std::string& names, const std::string& key,
                  std::vector<std::string>& overrides);

}  // namespace natrix
