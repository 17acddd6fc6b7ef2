// Collectives between threads. A call returns when all ranks have come and its work is done; or, if they do
// not come, with its stream stuck, which the caller has to notice as it would with NCCL.
//
// Sums start at another rank for every element, as a ring's do: who counts on the order of ranks is found
// out.
#include "nccl.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "emulator.h"

namespace {

using Bytes = std::vector<char>;

struct Group {
  explicit Group(int ranks_) : ranks(ranks_), contributions(static_cast<size_t>(ranks_)) {}
  const int ranks;
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<Bytes> contributions;
  int came = 0, left = 0;
  std::map<std::pair<int, int>, std::deque<Bytes>> mail;  // by sender and receiver
};

struct State {
  std::mutex mutex;
  std::map<uint64_t, std::weak_ptr<Group>> groups;
  std::set<cudaStream_t> stuck;
  uint64_t next_id = 1;
  std::atomic<double> patience{60};
};
State& state() {
  static State s;
  return s;
}

}  // namespace

struct NcclComm {
  std::shared_ptr<Group> group;
  int rank;
  std::set<cudaStream_t> stuck;
};

namespace {

struct Pending {
  bool send;
  const void* from;
  void* to;
  size_t bytes;
  int peer;
  ncclComm_t comm;
  cudaStream_t stream;
};
thread_local std::vector<Pending> pending;
thread_local int depth = 0;

size_t size_of(ncclDataType_t type) {
  return type == ncclUint8 ? 1 : type == ncclFloat32 ? 4 : 8;
}

void leave_stuck(ncclComm_t comm, cudaStream_t stream) {
  const std::lock_guard lock(state().mutex);
  state().stuck.insert(stream);
  comm->stuck.insert(stream);
}

template <class Condition>
bool wait_for(Group& g, std::unique_lock<std::mutex>& lock, Condition condition) {
  return g.changed.wait_for(lock, std::chrono::duration<double>(state().patience.load()), condition);
}

/// Everybody's `bytes`, in the order of ranks; nothing if somebody does not come.
std::vector<Bytes> meet(ncclComm_t comm, const void* from, size_t bytes, cudaStream_t stream) {
  Group& g = *comm->group;
  Bytes mine(bytes);
  {
    const cuda_emulation::DeviceAccess access;
    std::memcpy(mine.data(), from, bytes);
  }
  std::unique_lock lock(g.mutex);
  if (!wait_for(g, lock, [&] { return g.left == 0; })) {  // those of the last meeting
    leave_stuck(comm, stream);
    return {};
  }
  g.contributions[static_cast<size_t>(comm->rank)] = std::move(mine);
  ++g.came;
  g.changed.notify_all();
  if (!wait_for(g, lock, [&] { return g.came >= g.ranks; })) {
    leave_stuck(comm, stream);
    return {};
  }
  std::vector<Bytes> all = g.contributions;
  if (++g.left == g.ranks) {
    g.came = g.left = 0;
    g.changed.notify_all();
  } else {
    wait_for(g, lock, [&] { return g.left == 0; });
  }
  return all;
}

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

void post(const Pending& p) {
  Group& g = *p.comm->group;
  Bytes bytes(p.bytes);
  {
    const cuda_emulation::DeviceAccess access;
    std::memcpy(bytes.data(), p.from, p.bytes);
  }
  const std::lock_guard lock(g.mutex);
  g.mail[{p.comm->rank, p.peer}].push_back(std::move(bytes));
  g.changed.notify_all();
}

ncclResult_t fetch(const Pending& p) {
  Group& g = *p.comm->group;
  std::unique_lock lock(g.mutex);
  std::deque<Bytes>& box = g.mail[{p.peer, p.comm->rank}];
  if (!wait_for(g, lock, [&] { return !box.empty(); })) {
    leave_stuck(p.comm, p.stream);
    return ncclSuccess;
  }
  const Bytes bytes = std::move(box.front());
  box.pop_front();
  lock.unlock();
  if (bytes.size() != p.bytes) return ncclInvalidUsage;
  const cuda_emulation::DeviceAccess access;
  std::memcpy(p.to, bytes.data(), bytes.size());
  return ncclSuccess;
}

}  // namespace

namespace cuda_emulation {

bool is_stuck(cudaStream_t stream) {
  const std::lock_guard lock(state().mutex);
  return state().stuck.contains(stream);
}
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
  *comm = new NcclComm{group, rank, {}};
  return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  delete comm;
  return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t comm) {
  {
    const std::lock_guard lock(state().mutex);
    for (cudaStream_t s : comm->stuck) state().stuck.erase(s);
  }
  delete comm;
  return ncclSuccess;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t, ncclResult_t* error) {
  *error = ncclSuccess;
  return ncclSuccess;
}

ncclResult_t ncclAllReduce(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t comm, cudaStream_t stream) {
  const std::vector<Bytes> all = meet(comm, send, count * size_of(type), stream);
  if (!all.empty()) reduce(all, 0, count, type, op, receive);
  return ncclSuccess;
}
ncclResult_t ncclReduceScatter(const void* send, void* receive, size_t count, ncclDataType_t type,
                               ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  const auto ranks = static_cast<size_t>(comm->group->ranks);
  const std::vector<Bytes> all = meet(comm, send, ranks * count * size_of(type), stream);
  if (!all.empty()) reduce(all, static_cast<size_t>(comm->rank) * count, count, type, op, receive);
  return ncclSuccess;
}
ncclResult_t ncclAllGather(const void* send, void* receive, size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream) {
  const std::vector<Bytes> all = meet(comm, send, count * size_of(type), stream);
  const cuda_emulation::DeviceAccess access;
  for (size_t p = 0; p < all.size(); ++p) {
    std::memcpy(static_cast<char*>(receive) + p * all[p].size(), all[p].data(), all[p].size());
  }
  return ncclSuccess;
}

ncclResult_t ncclSend(const void* send, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  pending.push_back({true, send, nullptr, count * size_of(type), peer, comm, stream});
  return depth > 0 ? ncclSuccess : ncclGroupEnd();
}
ncclResult_t ncclRecv(void* receive, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  pending.push_back({false, nullptr, receive, count * size_of(type), peer, comm, stream});
  return depth > 0 ? ncclSuccess : ncclGroupEnd();
}
ncclResult_t ncclGroupStart() {
  ++depth;
  return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
  if (depth > 0 && --depth > 0) return ncclSuccess;
  std::vector<Pending> all;
  std::swap(all, pending);
  for (const Pending& p : all) {
    if (p.send) post(p);
  }
  for (const Pending& p : all) {
    if (p.send) continue;
    if (const ncclResult_t result = fetch(p); result != ncclSuccess) return result;
  }
  return ncclSuccess;
}
