#include "core/files/xxhash64.h"

#include <cerrno>
#include <cstdio>
#include <fmt/format.h>
#include <system_error>
#include <vector>
#include <xxhash.h>

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

// The file is read, not mapped: a failing disk is then an error and not a SIGBUS.
std::string hash_file(const std::string& path) {
  constexpr size_t kBlockBytes = size_t{1} << 20;
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) {
    throw InputError(fmt::format("cannot read {}: {}", path, std::generic_category().message(errno)));
  }
  Xxhash64 hash;
  std::vector<char> block(kBlockBytes);
  while (const size_t got = std::fread(block.data(), 1, block.size(), file)) {
    hash.add(block.data(), static_cast<int64_t>(got));
  }
  const int error = std::ferror(file) != 0 ? errno : 0;
  std::fclose(file);
  if (error != 0)
    throw RunError(fmt::format("cannot read {}: {}", path, std::generic_category().message(error)));
  return hash.hex();
}

}  // namespace natrix
