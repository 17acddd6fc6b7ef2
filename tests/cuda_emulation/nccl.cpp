// Collectives between threads. A call gives the others what this rank sends, makes the result unreadable
// (NaN) and returns; the result is there once somebody has waited for it (Deferred, emulator.h), or has asked
// whether it is. If ranks do not come, the stream is never done, which the caller has to notice as it would
// with NCCL. What a collective reads or writes is left alone until then: otherwise an error says so at its
// end.
//
// Sums start at another rank for every element, as a ring's do: who counts on the order of ranks is found
// out.
#include "nccl.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "emulator.h"

namespace {

using Bytes = std::vector<char>;

struct Meeting {
  std::vector<Bytes> contributions;
  int came = 0, left = 0;
};

struct Group {
  explicit Group(int ranks_) : ranks(ranks_) {}
  const int ranks;
  std::mutex mutex;
  std::condition_variable changed;
  std::map<uint64_t, Meeting> meetings;                   // by their number, the same on all ranks
  std::map<std::pair<int, int>, std::deque<Bytes>> mail;  // by sender and receiver
};

struct State {
  std::mutex mutex;
  std::map<uint64_t, std::weak_ptr<Group>> groups;
  uint64_t next_id = 1;
  std::atomic<double> patience{60};
};
State& state() {
  static State s;
  return s;
}

/// A rank's end of a group. Its collectives outlive the communicator.
struct End {
  std::shared_ptr<Group> group;
  int rank;
  uint64_t meetings = 0;
  bool aborted = false;
  ncclResult_t error = ncclSuccess;
};

}  // namespace

struct NcclComm {
  std::shared_ptr<End> end;
};

namespace {

struct Message {
  bool send;
  const void* from;
  void* to;
  size_t bytes;
  int peer;
  ncclComm_t comm;
  cudaStream_t stream;
};
thread_local std::vector<Message> messages;
thread_local int depth = 0;

size_t size_of(ncclDataType_t type) {
  return type == ncclUint8 ? 1 : type == ncclFloat32 ? 4 : 8;
}

Bytes read(const void* from, size_t bytes) {
  const cuda_emulation::DeviceAccess access;
  Bytes copy(bytes);
  if (bytes > 0) std::memcpy(copy.data(), from, bytes);
  return copy;
}

/// With `wait`, waits until the condition holds; true if it does.
template <class Condition>
bool holds(Group& g, std::unique_lock<std::mutex>& lock, bool wait, Condition condition) {
  const double seconds = wait ? state().patience.load() : 0;
  return g.changed.wait_for(lock, std::chrono::duration<double>(seconds), condition);
}

/// Device memory that operations under way read or write.
class Claims {
 public:
  void read_by(const void* from, size_t bytes) { inputs_.push_back({from, read(from, bytes)}); }
  void written_by(void* to, size_t bytes) {
    const cuda_emulation::DeviceAccess access;
    if (bytes > 0) std::memset(to, cuda_emulation::kPoison, bytes);
    outputs_.push_back({static_cast<char*>(to), bytes});
  }
  /// Whether all is as it was left.
  void check() const {
    const cuda_emulation::DeviceAccess access;
    for (const auto& [from, bytes] : inputs_) {
      for (size_t i = 0; i < bytes.size(); ++i) {
        const char* p = static_cast<const char*>(from) + i;
        if (!is_output(p) && *p != bytes[i]) return complain("reads");
      }
    }
    for (const auto& [to, bytes] : outputs_) {
      const auto poison = [](char c) { return c == static_cast<char>(cuda_emulation::kPoison); };
      if (!std::all_of(to, to + bytes, poison)) return complain("writes");
    }
  }

 private:
  bool is_output(const char* p) const {
    return std::any_of(outputs_.begin(), outputs_.end(),
                       [&](const auto& o) { return o.first <= p && p < o.first + o.second; });
  }
  static void complain(const std::string& does) {
    cuda_emulation::fail(cudaErrorIllegalAddress,
                         "somebody wrote to memory that a collective under way " + does);
  }

  std::vector<std::pair<const void*, Bytes>> inputs_;
  std::vector<std::pair<char*, size_t>> outputs_;
};

/// Everybody's bytes, in the order of ranks, and what is made of them.
class Collective final : public cuda_emulation::Deferred {
 public:
  using Make = std::function<void(const std::vector<Bytes>&)>;

  Collective(std::shared_ptr<End> end, const void* from, size_t sent, void* to, size_t received, Make make)
      : end_(std::move(end)), number_(end_->meetings++), make_(std::move(make)) {
    claims_.read_by(from, sent);
    Group& g = *end_->group;
    {
      const std::lock_guard lock(g.mutex);
      Meeting& m = g.meetings[number_];
      m.contributions.resize(static_cast<size_t>(g.ranks));
      m.contributions[static_cast<size_t>(end_->rank)] = read(from, sent);
      ++m.came;
      g.changed.notify_all();
    }
    claims_.written_by(to, received);
  }

  bool done(bool wait) override {
    if (over_ || end_->aborted) return true;
    Group& g = *end_->group;
    std::unique_lock lock(g.mutex);
    const auto all_came = [&] { return g.meetings[number_].came == g.ranks; };
    if (!holds(g, lock, wait, all_came)) return false;
    Meeting& m = g.meetings[number_];
    const std::vector<Bytes> all = m.contributions;
    if (++m.left == g.ranks) g.meetings.erase(number_);
    lock.unlock();
    claims_.check();
    make_(all);
    return over_ = true;
  }

 private:
  std::shared_ptr<End> end_;
  uint64_t number_;
  Make make_;
  Claims claims_;
  bool over_ = false;
};

/// The messages of one ncclGroupEnd.
class Mail final : public cuda_emulation::Deferred {
 public:
  Mail(std::shared_ptr<End> end, std::vector<Message> all) : end_(std::move(end)) {
    Group& g = *end_->group;
    for (const Message& m : all) {
      if (!m.send) continue;
      claims_.read_by(m.from, m.bytes);
      const std::lock_guard lock(g.mutex);
      g.mail[{end_->rank, m.peer}].push_back(read(m.from, m.bytes));
      g.changed.notify_all();
    }
    for (const Message& m : all) {
      if (m.send) continue;
      claims_.written_by(m.to, m.bytes);
      due_.push_back(m);
    }
  }

  bool done(bool wait) override {
    if (over_ || end_->aborted) return true;
    for (; arrived_.size() < due_.size();) {
      const Message& m = due_[arrived_.size()];
      Group& g = *end_->group;
      std::unique_lock lock(g.mutex);
      std::deque<Bytes>& box = g.mail[{m.peer, end_->rank}];
      if (!holds(g, lock, wait, [&] { return !box.empty(); })) return false;
      arrived_.push_back(std::move(box.front()));
      box.pop_front();
    }
    claims_.check();
    const cuda_emulation::DeviceAccess access;
    for (size_t i = 0; i < due_.size(); ++i) {
      if (arrived_[i].size() != due_[i].bytes) {
        end_->error = ncclInvalidUsage;
      } else if (due_[i].bytes > 0) {
        std::memcpy(due_[i].to, arrived_[i].data(), due_[i].bytes);
      }
    }
    return over_ = true;
  }

 private:
  std::shared_ptr<End> end_;
  std::vector<Message> due_;
  std::vector<Bytes> arrived_;
  Claims claims_;
  bool over_ = false;
};

template <class T>
T reduced(const std::vector<Bytes>& all, size_t i, ncclRedOp_t op) {
  T total{};
  for (size_t k = 0; k < all.size(); ++k) {
    T x;
    std::memcpy(&x, all[(i + k) % all.size()].data() + i * sizeof(T), sizeof x);
    total = k == 0 ? x : op == ncclSum ? total + x : x > total ? x : total;
  }
  return total;
}

void reduce(const std::vector<Bytes>& all, size_t first, size_t count, ncclDataType_t type, ncclRedOp_t op,
            void* to) {
  const cuda_emulation::DeviceAccess access;
  for (size_t i = 0; i < count; ++i) {
    if (type == ncclFloat32) static_cast<float*>(to)[i] = reduced<float>(all, first + i, op);
    if (type == ncclFloat64) static_cast<double*>(to)[i] = reduced<double>(all, first + i, op);
    if (type == ncclInt64) static_cast<int64_t*>(to)[i] = reduced<int64_t>(all, first + i, op);
  }
}

}  // namespace

namespace cuda_emulation {

void set_nccl_patience(double seconds) {
  state().patience = seconds;
}

}  // namespace cuda_emulation

const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclInvalidUsage      ? "invalid usage"
         : result == ncclInvalidArgument ? "invalid argument"
                                         : "error";
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  const std::lock_guard lock(state().mutex);
  *id = {};
  const uint64_t n = state().next_id++;
  std::memcpy(id->internal, &n, sizeof n);
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank, ncclConfig_t*) {
  if (rank < 0 || rank >= ranks) return ncclInvalidArgument;
  uint64_t n = 0;
  std::memcpy(&n, id.internal, sizeof n);
  if (n == 0) return ncclInvalidArgument;
  const std::lock_guard lock(state().mutex);
  std::shared_ptr<Group> group = state().groups[n].lock();
  if (!group) state().groups[n] = group = std::make_shared<Group>(ranks);
  *comm = new NcclComm{std::make_shared<End>(End{group, rank})};
  return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  delete comm;
  return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t comm) {
  comm->end->aborted = true;
  delete comm;
  return ncclSuccess;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* error) {
  *error = comm->end->error;
  return ncclSuccess;
}

ncclResult_t ncclAllReduce(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t comm, cudaStream_t stream) {
  const size_t bytes = count * size_of(type);
  const auto make = [=](const std::vector<Bytes>& all) { reduce(all, 0, count, type, op, receive); };
  cuda_emulation::defer(stream, std::make_shared<Collective>(comm->end, send, bytes, receive, bytes, make));
  return ncclSuccess;
}
ncclResult_t ncclReduceScatter(const void* send, void* receive, size_t count, ncclDataType_t type,
                               ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  const size_t bytes = count * size_of(type), ranks = static_cast<size_t>(comm->end->group->ranks),
               first = static_cast<size_t>(comm->end->rank) * count;
  const auto make = [=](const std::vector<Bytes>& all) { reduce(all, first, count, type, op, receive); };
  cuda_emulation::defer(stream,
                        std::make_shared<Collective>(comm->end, send, ranks * bytes, receive, bytes, make));
  return ncclSuccess;
}
ncclResult_t ncclAllGather(const void* send, void* receive, size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream) {
  const size_t bytes = count * size_of(type), ranks = static_cast<size_t>(comm->end->group->ranks);
  const auto make = [=](const std::vector<Bytes>& all) {
    const cuda_emulation::DeviceAccess access;
    for (size_t p = 0; p < ranks && bytes > 0; ++p) {
      std::memcpy(static_cast<char*>(receive) + p * bytes, all[p].data(), bytes);
    }
  };
  cuda_emulation::defer(stream,
                        std::make_shared<Collective>(comm->end, send, bytes, receive, ranks * bytes, make));
  return ncclSuccess;
}

ncclResult_t ncclSend(const void* send, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  messages.push_back({true, send, nullptr, count * size_of(type), peer, comm, stream});
  return depth > 0 ? ncclSuccess : ncclGroupEnd();
}
ncclResult_t ncclRecv(void* receive, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  messages.push_back({false, nullptr, receive, count * size_of(type), peer, comm, stream});
  return depth > 0 ? ncclSuccess : ncclGroupEnd();
}
ncclResult_t ncclGroupStart() {
  ++depth;
  return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
  if (depth > 0 && --depth > 0) return ncclSuccess;
  std::vector<Message> all;
  std::swap(all, messages);
  if (all.empty()) return ncclSuccess;
  const cudaStream_t stream = all.front().stream;
  cuda_emulation::defer(stream, std::make_shared<Mail>(all.front().comm->end, std::move(all)));
  return ncclSuccess;
}
