#include "launch/api/public/guarded.h"

namespace natrix {

Error::Error(const std::string& what, int exit_status)
    : std::runtime_error(what), exit_status_(exit_status) {}

Error::~Error() = default;

void rethrow_as_error() {
  constexpr int kFailed = 1, kBadInput = 2;
  try {
    throw;
  } catch (const Error&) {
    throw;
  } catch (const InputError& e) {
    throw Error(e.what(), kBadInput);
  } catch (const ConfigError& e) {
    throw Error(e.what(), kBadInput);
  } catch (const std::bad_alloc&) {
    throw Error("out of memory; a smaller chunk, batch or model needs less", kFailed);
  } catch (const std::exception& e) {
    throw Error(e.what(), kFailed);
  }
}

}  // namespace natrix
