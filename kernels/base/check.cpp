#include "kernels/base/check.h"

#include <fmt/format.h>

namespace natrix {

void contract_broken(std::string_view what, std::source_location where) {
  throw ContractError(
      fmt::format("{}:{}: {}: {}", where.file_name(), where.line(), where.function_name(), what));
}

}  // namespace natrix
