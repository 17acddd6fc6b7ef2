#include "distributed/thread_communicator.h"

#include <cstring>
#include <deque>
#include <exception>
#include <fmt/format.h>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "distributed/waiting.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

using Message = std::vector<std::byte>;
constexpr int64_t kDirect = -1;  // marks direct messages between two ranks

/// The first failure of any rank. It ends the waits of all ranks.
class Fate {
 public:
  void fail(std::exception_ptr why) {
    const std::lock_guard lock(mutex_);
    if (!why_) why_ = std::move(why);
  }
  std::exception_ptr why() const {
    const std::lock_guard lock(mutex_);
    return why_;
  }

 private:
  mutable std::mutex mutex_;
  std::exception_ptr why_;
};

/// The mailboxes of one group of ranks.
class Hub {
 public:
  Hub(std::vector<int> members, std::string name, std::shared_ptr<Fate> fate)
      : members_(std::move(members)), name_(std::move(name)), fate_(std::move(fate)) {}

  int size() const { return static_cast<int>(members_.size()); }
  int world_rank(int member) const { return members_[static_cast<size_t>(member)]; }
  const std::string& name() const { return name_; }
  const std::shared_ptr<Fate>& fate() const { return fate_; }

  void put(int64_t operation, int from, int to, std::span<const std::byte> bytes) {
    const std::lock_guard lock(mutex_);
    boxes_[{operation, from, to}].emplace_back(bytes.begin(), bytes.end());
  }

  /// The next message, if it has arrived.
  std::optional<Message> take(int64_t operation, int from, int to) {
    const std::lock_guard lock(mutex_);
    const auto box = boxes_.find({operation, from, to});
    if (box == boxes_.end()) return std::nullopt;
    Message m = std::move(box->second.front());
    box->second.pop_front();
    if (box->second.empty()) boxes_.erase(box);
    return m;
  }

  /// The hub of the ranks that chose `colour` in the group's n-th split. The first caller creates it.
  std::shared_ptr<Hub> child(int64_t n, int colour, const std::vector<int>& members, std::string_view name) {
    const std::lock_guard lock(mutex_);
    std::shared_ptr<Hub>& hub = children_[{n, colour}];
    if (!hub) hub = std::make_shared<Hub>(members, std::string(name), fate_);
    return hub;
  }

 private:
  std::vector<int> members_;  // ranks of the world
  std::string name_;
  std::shared_ptr<Fate> fate_;
  std::mutex mutex_;
  std::map<std::tuple<int64_t, int, int>, std::deque<Message>> boxes_;  // by operation, sender, receiver
  std::map<std::pair<int64_t, int>, std::shared_ptr<Hub>> children_;
};

class ThreadExchange final : public Exchange {
 public:
  ThreadExchange(std::shared_ptr<Hub> hub, int rank, std::shared_ptr<Watch> watch, int64_t operation,
                 std::string_view what)
      : hub_(std::move(hub)), rank_(rank), watch_(std::move(watch)), operation_(operation), what_(what) {}

  void send(std::span<const std::byte> bytes, int peer) { hub_->put(operation_, rank_, peer, bytes); }
  void receive(std::span<std::byte> bytes, int peer) { due_.push_back({peer, bytes}); }

  bool poll() override {
    std::erase_if(due_, [&](const Due& due) {
      const std::optional<Message> m = hub_->take(operation_, due.peer, rank_);
      if (m) accept(*m, due);
      return m.has_value();
    });
    if (!due_.empty() && hub_->fate()->why()) {
      throw RunError(fmt::format("rank {} ends because another failed", hub_->world_rank(rank_)));
    }
    return due_.empty();
  }

  std::string lost() const override {
    std::vector<int> silent;
    for (const Due& due : due_) silent.push_back(hub_->world_rank(due.peer));
    return lost_rank_message(hub_->world_rank(rank_), *watch_, what_, hub_->name(), silent);
  }

 private:
  struct Due {
    int peer;
    std::span<std::byte> bytes;
  };

  void accept(const Message& m, const Due& due) {
    ++watch_->moved;
    if (m.size() != due.bytes.size()) {
      throw RunError(mismatch_message(hub_->world_rank(rank_), *watch_, what_, hub_->name(),
                                      hub_->world_rank(due.peer), static_cast<int64_t>(m.size()),
                                      static_cast<int64_t>(due.bytes.size())));
    }
    if (!m.empty()) std::memcpy(due.bytes.data(), m.data(), m.size());
  }

  std::shared_ptr<Hub> hub_;
  int rank_;
  std::shared_ptr<Watch> watch_;
  int64_t operation_;
  std::string what_;
  std::vector<Due> due_;
};

class ThreadTransport final : public Transport {
 public:
  ThreadTransport(std::shared_ptr<Hub> hub, int rank, std::shared_ptr<Watch> watch)
      : hub_(std::move(hub)), rank_(rank), watch_(std::move(watch)) {}

  int rank() const override { return rank_; }
  int size() const override { return hub_->size(); }
  Watch& watch() override { return *watch_; }

  std::unique_ptr<Exchange> start_exchange(std::span<const std::span<const std::byte>> send,
                                           std::span<const std::span<std::byte>> receive, int64_t operation,
                                           std::string_view what) override {
    auto e = std::make_unique<ThreadExchange>(hub_, rank_, watch_, operation, what);
    for (int p = 0; p < size(); ++p) {
      if (p == rank_) continue;
      e->send(send[static_cast<size_t>(p)], p);
      e->receive(receive[static_cast<size_t>(p)], p);
    }
    return e;
  }
  std::unique_ptr<Exchange> start_receive(std::span<std::byte> bytes, int peer,
                                          std::string_view what) override {
    auto e = std::make_unique<ThreadExchange>(hub_, rank_, watch_, kDirect, what);
    e->receive(bytes, peer);
    return e;
  }
  void send(std::span<const std::byte> bytes, int peer, std::string_view) override {
    hub_->put(kDirect, rank_, peer, bytes);
  }

  std::unique_ptr<Transport> split(int colour, std::string_view name) override {
    const std::vector<int> colours = everyones(colour);
    std::vector<int> members;
    int rank = 0;
    for (int p = 0; p < size(); ++p) {
      if (colours[static_cast<size_t>(p)] != colour) continue;
      if (p == rank_) rank = static_cast<int>(members.size());
      members.push_back(hub_->world_rank(p));
    }
    return std::make_unique<ThreadTransport>(hub_->child(splits_++, colour, members, name), rank, watch_);
  }

 private:
  std::shared_ptr<Hub> hub_;
  int rank_;
  std::shared_ptr<Watch> watch_;
  int64_t splits_ = 0;
};

}  // namespace

void run_ranks(int ranks, double timeout, const std::function<void(Transport& world)>& body) {
  require(ranks > 0, "a world without ranks");
  const auto fate = std::make_shared<Fate>();
  std::vector<int> members;
  for (int r = 0; r < ranks; ++r) members.push_back(r);
  const auto hub = std::make_shared<Hub>(members, "world", fate);
  std::vector<std::thread> threads;
  for (int r = 0; r < ranks; ++r) {
    threads.emplace_back([&, r] {
      try {
        ThreadTransport world(hub, r, std::make_shared<Watch>(Watch{.timeout = timeout}));
        body(world);
      } catch (...) {
        fate->fail(std::current_exception());
      }
    });
  }
  for (std::thread& t : threads) t.join();
  if (fate->why()) std::rethrow_exception(fate->why());
}

}  // namespace natrix
