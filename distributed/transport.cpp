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

std::vector<int> Transport::exchange_colours(int colour) {
  std::vector<int> colours(static_cast<size_t>(size()), colour);
  const std::vector<std::span<const std::byte>> mine(colours.size(), std::as_bytes(std::span(&colour, 1)));
  std::vector<std::span<std::byte>> theirs;
  for (int& c : colours) theirs.push_back(std::as_writable_bytes(std::span(&c, 1)));
  exchange(mine, theirs, "split");
  return colours;
}

}  // namespace natrix
