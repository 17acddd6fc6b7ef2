#include "distributed/thread_communicator.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <fmt/format.h>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "distributed/waiting.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

using Message = std::vector<std::byte>;
enum Lane { kCollective, kDirect, kLanes };

/// The first failure of any rank, which ends the waiting of all.
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
      : members_(std::move(members)), name_(std::move(name)), fate_(std::move(fate)) {
    boxes_.resize(members_.size() * members_.size() * kLanes);
  }

  int size() const { return static_cast<int>(members_.size()); }
  int world_rank(int member) const { return members_[static_cast<size_t>(member)]; }
  const std::string& name() const { return name_; }
  const std::shared_ptr<Fate>& fate() const { return fate_; }

  void put(Lane lane, int from, int to, std::span<const std::byte> bytes) {
    const std::lock_guard lock(mutex_);
    box(lane, from, to).emplace_back(bytes.begin(), bytes.end());
    changed_.notify_all();
  }

  Message take(Lane lane, int from, int to, const Watch& watch, std::string_view what) {
    using namespace std::chrono;
    std::unique_lock lock(mutex_);
    std::deque<Message>& messages = box(lane, from, to);
    const auto deadline = steady_clock::now() + duration<double>(std::min(watch.timeout, 1e9));
    while (messages.empty()) {
      if (fate_->why()) throw RunError(fmt::format("rank {} ends because another failed", world_rank(to)));
      if (steady_clock::now() > deadline) {
        throw RunError(lost_rank_message(world_rank(to), watch, what, name_, {world_rank(from)}));
      }
      changed_.wait_for(lock, milliseconds(20));  // and look whether another group's rank has failed
    }
    Message m = std::move(messages.front());
    messages.pop_front();
    return m;
  }

  /// The hub of the ranks that chose `colour` in the group's n-th split; the first to ask makes it.
  std::shared_ptr<Hub> child(int64_t n, int colour, const std::vector<int>& members, std::string_view name) {
    const std::lock_guard lock(mutex_);
    std::shared_ptr<Hub>& hub = children_[{n, colour}];
    if (!hub) hub = std::make_shared<Hub>(members, std::string(name), fate_);
    return hub;
  }

 private:
  std::deque<Message>& box(Lane lane, int from, int to) {
    return boxes_[(static_cast<size_t>(from) * members_.size() + static_cast<size_t>(to)) * kLanes + lane];
  }

  std::vector<int> members_;  // ranks of the world
  std::string name_;
  std::shared_ptr<Fate> fate_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::deque<Message>> boxes_;
  std::map<std::pair<int64_t, int>, std::shared_ptr<Hub>> children_;
};

class ThreadTransport final : public Transport {
 public:
  ThreadTransport(std::shared_ptr<Hub> hub, int rank, std::shared_ptr<Watch> watch)
      : hub_(std::move(hub)), rank_(rank), watch_(std::move(watch)) {}

  int rank() const override { return rank_; }
  int size() const override { return hub_->size(); }
  Watch& watch() override { return *watch_; }

  void exchange(std::span<const std::span<const std::byte>> send,
                std::span<const std::span<std::byte>> receive, std::string_view what) override {
    for (int p = 0; p < size(); ++p) {
      if (p != rank_) hub_->put(kCollective, rank_, p, send[static_cast<size_t>(p)]);
    }
    for (int p = 0; p < size(); ++p) {
      if (p != rank_) take(kCollective, p, receive[static_cast<size_t>(p)], what);
    }
  }
  void send(std::span<const std::byte> bytes, int peer, std::string_view) override {
    hub_->put(kDirect, rank_, peer, bytes);
  }
  void receive(std::span<std::byte> bytes, int peer, std::string_view what) override {
    take(kDirect, peer, bytes, what);
  }

  std::unique_ptr<Transport> split(int colour, std::string_view name) override {
    std::vector<int> colours(static_cast<size_t>(size()), colour);
    std::vector<std::span<const std::byte>> mine(colours.size(), std::as_bytes(std::span(&colour, 1)));
    std::vector<std::span<std::byte>> theirs;
    for (int& c : colours) theirs.push_back(std::as_writable_bytes(std::span(&c, 1)));
    exchange(mine, theirs, "split");
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
  void take(Lane lane, int peer, std::span<std::byte> bytes, std::string_view what) {
    const Message m = hub_->take(lane, peer, rank_, *watch_, what);
    if (m.size() != bytes.size()) {
      throw RunError(mismatch_message(hub_->world_rank(rank_), *watch_, what, hub_->name(),
                                      hub_->world_rank(peer), static_cast<int64_t>(m.size()),
                                      static_cast<int64_t>(bytes.size())));
    }
    if (!m.empty()) std::memcpy(bytes.data(), m.data(), m.size());
  }

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
