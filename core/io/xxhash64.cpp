#include "core/io/xxhash64.h"

#include <fmt/format.h>
#include <xxhash.h>

#include "core/io/mapped_file.h"
#include "kernels/base/check.h"

namespace natrix {

struct Xxhash64::State {
  struct Free {
    void operator()(XXH3_state_t* state) const noexcept { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, Free> running{
      XXH3_createState()};  // aligned to 64 bytes by its own allocator
};

Xxhash64::Xxhash64() : state_(std::make_unique<State>()) {
  require(state_->running != nullptr && XXH3_64bits_reset(state_->running.get()) == XXH_OK,
          "xxHash does not start");
}

Xxhash64::~Xxhash64() = default;

void Xxhash64::add(const void* data, int64_t bytes) {
  if (bytes > 0) XXH3_64bits_update(state_->running.get(), data, static_cast<size_t>(bytes));
}

std::string Xxhash64::hex() const {
  return fmt::format("{:016x}", XXH3_64bits_digest(state_->running.get()));
}

std::string hash_file(const std::string& path) {
  const MappedFile file(path);
  Xxhash64 hash;
  hash.add(file.data(), file.size());
  return hash.hex();
}

}  // namespace natrix
