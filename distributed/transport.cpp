#include "distributed/transport.h"

#include "distributed/waiting.h"

namespace natrix {

void Transport::exchange(std::span<const std::span<const std::byte>> send,
                         std::span<const std::span<std::byte>> receive, std::string_view what) {
  const auto e = start_exchange(send, receive, begin_operation(), what);
  wait_until(
      watch(), [&] { return e->poll(); }, [&] { return e->lost(); });
}

void Transport::receive(std::span<std::byte> bytes, int peer, std::string_view what) {
  const auto e = start_receive(bytes, peer, what);
  wait_until(
      watch(), [&] { return e->poll(); }, [&] { return e->lost(); });
}

std::vector<int> Transport::everyones(int number) {
  std::vector<int> all(static_cast<size_t>(size()), number);
  const std::vector<std::span<const std::byte>> mine(all.size(), std::as_bytes(std::span(&number, 1)));
  std::vector<std::span<std::byte>> theirs;
  for (int& n : all) theirs.push_back(std::as_writable_bytes(std::span(&n, 1)));
  exchange(mine, theirs, "a number of each rank");
  return all;
}

}  // namespace natrix
