#include "distributed/nccl_communicator.h"

#include <chrono>
#include <exception>
#include <fmt/format.h>
#include <functional>
#include <numeric>

#include "distributed/rank_communicator.h"
#include "distributed/rank_operation.h"
#include "distributed/staged_communicator.h"
#include "distributed/waiting.h"
#include "kernels/cuda/stream.h"

#if NATRIX_HAS_NCCL
#include <nccl.h>
#endif

namespace natrix {

#if NATRIX_HAS_NCCL

bool built_with_nccl() {
  return true;
}

namespace {

ncclDataType_t type_of(View v) {
  switch (v.dtype) {
    case Dtype::kF32: return ncclFloat32;
    case Dtype::kF64: return ncclFloat64;
    case Dtype::kI64: return ncclInt64;
    default:
      contract_broken("a reduction of something else than f32, f64 or i64", std::source_location::current());
  }
}

ncclRedOp_t operation(Reduce op) {
  return op == Reduce::kSum ? ncclSum : ncclMax;
}

bool on_device(View v) {
  return v && memory_of(v.data) == Memory::kDevice;
}

size_t bytes_of(View v) {
  require(v.contiguous(), "a collective over strided rows");
  return static_cast<size_t>(v.bytes());
}

/// Broadcasts rank 0's NCCL id to all ranks.
ncclUniqueId shared_id(Transport& axis) {
  ncclUniqueId id = {};
  if (axis.rank() == 0 && ncclGetUniqueId(&id) != ncclSuccess)
    throw RunError("NCCL: no id for a communicator");
  const auto ranks = static_cast<size_t>(axis.size());
  const std::span<std::byte> bytes = std::as_writable_bytes(std::span(&id, 1));
  std::vector<std::span<const std::byte>> send(ranks);
  std::vector<std::span<std::byte>> receive(ranks);
  if (axis.rank() == 0) {
    send.assign(ranks, bytes);
  } else {
    receive[0] = bytes;
  }
  axis.exchange(send, receive, "NCCL's id");
  return id;
}

void check_made(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw RunError(fmt::format("{}: CUDA: {}", what, cudaGetErrorString(error)));
}

/// A stream that does not synchronise with the default stream, whose copies would otherwise
/// wait for every collective.
class Stream {
 public:
  Stream() { check_made(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "a stream"); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  Event() { check_made(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "an event"); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

using Queue = std::function<ncclResult_t(ncclComm_t, cudaStream_t)>;

/// A non-blocking NCCL communicator, and the polling that it requires.
struct Nccl {
  Nccl(Transport& axis, Watch& watch_, std::string name_)
      : watch(watch_), name(std::move(name_)), rank(axis.rank()), ranks(axis.size()) {
    const ncclUniqueId id = shared_id(axis);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    settle(ncclCommInitRankConfig(&comm, ranks, id, rank, &config), "beginning");
  }
  ~Nccl() {
    if (comm == nullptr) return;
    // While an exception unwinds, other ranks may be gone, and ncclCommDestroy would wait for them.
    std::uncaught_exceptions() > 0 ? ncclCommAbort(comm) : ncclCommDestroy(comm);
  }
  Nccl(const Nccl&) = delete;
  Nccl& operator=(const Nccl&) = delete;

  /// Queues a collective after all earlier work of `ctx`, and records the event that marks its end.
  void queue(const Context& ctx, std::string_view what, const Queue& collective, const Event& end) {
    require(comm != nullptr, "a communicator that was aborted");
    check(cudaEventRecord(ready.get(), cuda::stream_handle(ctx)), what);
    check(cudaStreamWaitEvent(stream.get(), ready.get(), 0), what);
    settle(collective(comm, stream.get()), what);
    check(cudaEventRecord(end.get(), stream.get()), what);
  }
  bool ended(const Event& end, std::string_view what) {
    require(comm != nullptr, "a communicator that was aborted");
    const cudaError_t state = cudaEventQuery(end.get());
    ncclResult_t error = ncclSuccess;
    ncclCommGetAsyncError(comm, &error);
    if (error != ncclSuccess && error != ncclInProgress) fail(what, ncclGetErrorString(error));
    if (state == cudaErrorNotReady) return false;
    check(state, what);
    return true;
  }
  void check(cudaError_t error, std::string_view what) {
    if (error == cudaSuccess) return;
    const std::string text = cudaGetErrorString(error);
    cudaGetLastError();
    fail(what, text);
  }

  /// Waits for the result of a non-blocking call.
  void settle(ncclResult_t result, std::string_view what) {
    Patience patience(watch.timeout);
    while (result == ncclInProgress) {
      if (ncclCommGetAsyncError(comm, &result) != ncclSuccess) break;
      if (result == ncclInProgress && !patience.wait()) fail(what, silence());
    }
    if (result != ncclSuccess) fail(what, ncclGetErrorString(result));
  }

  std::string silence() const {
    return fmt::format(
        "waited {:g} s (parallel.timeout) for the other ranks of the axis: one is lost, stopped, or busy "
        "with something else; the run ends and can go on from its last checkpoint",
        watch.timeout);
  }
  /// Aborts what is in flight. Afterwards nothing reads or writes its memory.
  void abort() {
    if (comm != nullptr) ncclCommAbort(comm);
    comm = nullptr;
  }
  [[noreturn]] void fail(std::string_view what, const std::string& why) {
    abort();
    throw RunError(
        fmt::format("rank {} of {}, step {}: {} ({}, NCCL): {}", rank, ranks, watch.step, what, name, why));
  }

  Watch& watch;
  std::string name;
  int rank, ranks;
  ncclComm_t comm = nullptr;
  Stream stream;
  Event ready;  // marks the context's work before an operation
  OperationBook book;
};

class NcclOperation final : public Operation {
 public:
  NcclOperation(Nccl& nccl, const Context& ctx, std::string what, const Queue& collective)
      : nccl_(nccl), what_(std::move(what)) {
    nccl_.queue(ctx, what_, collective, end_);
    nccl_.book.begin();
  }
  ~NcclOperation() override {
    if (ended_) return;
    nccl_.abort();  // an exception is unwinding and will free the operation's memory
    nccl_.book.end();
  }
  NcclOperation(const NcclOperation&) = delete;
  NcclOperation& operator=(const NcclOperation&) = delete;

  bool poll() override {
    if (ended_ || !nccl_.ended(end_, what_)) return ended_;
    ended_ = true;
    nccl_.book.end();
    return true;
  }
  void wait() override {
    const auto begin = OperationBook::Clock::now();
    wait_until(
        nccl_.watch, [&] { return poll(); }, [&]() -> std::string { nccl_.fail(what_, nccl_.silence()); });
    nccl_.book.traffic.waiting += std::chrono::duration<double>(OperationBook::Clock::now() - begin).count();
  }

 private:
  Nccl& nccl_;
  std::string what_;
  Event end_;
  bool ended_ = false;
};

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(std::unique_ptr<Transport> axis, std::string name) {
    nccl_ = std::make_unique<Nccl>(*axis, axis->watch(), std::move(name));
    by_host_ = std::make_unique<StagedCommunicator>(std::make_unique<RankCommunicator>(std::move(axis)));
  }

  int rank() const override { return by_host_->rank(); }
  int size() const override { return by_host_->size(); }
  Pending start_all_reduce(Context& ctx, View inout, Reduce op) override;
  Pending start_reduce_scatter(Context& ctx, View in, View out, Reduce op) override;
  Pending start_all_gather(Context& ctx, View in, View out) override;
  Pending start_all_to_all(Context& ctx, View in, View out, const RowCounts& rows) override;
  void send(Context& ctx, View v, int peer) override { by_host_->send(ctx, v, peer); }
  void receive(Context& ctx, View v, int peer) override { by_host_->receive(ctx, v, peer); }
  int64_t scratch_bytes() const override { return by_host_->scratch_bytes(); }
  Traffic traffic() const override {
    Traffic all = by_host_->traffic();
    return all += nccl_->book.traffic;
  }

 private:
  /// NCCL needs equal shares. Where the last share is shorter (a run's last bucket), the host
  /// does the operation.
  bool even(View whole) const { return whole.count() % size() == 0; }
  Pending start(const Context& ctx, std::string what, int64_t bytes_sent, const Queue& collective) {
    nccl_->book.traffic.messages += size() - 1;
    nccl_->book.traffic.bytes += bytes_sent;
    return Pending(std::make_unique<NcclOperation>(*nccl_, ctx, std::move(what), collective));
  }

  std::unique_ptr<Nccl> nccl_;
  std::unique_ptr<Communicator> by_host_;
};

Pending NcclCommunicator::start_all_reduce(Context& ctx, View inout, Reduce op) {
  if (!on_device(inout)) return by_host_->start_all_reduce(ctx, inout, op);
  const auto bytes = static_cast<int64_t>(bytes_of(inout));
  const int64_t sent = 2 * bytes * (size() - 1) / size();  // as in a ring
  return start(ctx, fmt::format("all_reduce of {} bytes", bytes), sent,
               [&](ncclComm_t comm, cudaStream_t stream) {
                 return ncclAllReduce(inout.data, inout.data, static_cast<size_t>(inout.count()),
                                      type_of(inout), operation(op), comm, stream);
               });
}

Pending NcclCommunicator::start_reduce_scatter(Context& ctx, View in, View out, Reduce op) {
  if (!on_device(in) || !even(in)) return by_host_->start_reduce_scatter(ctx, in, out, op);
  require(in.count() == out.count() * size() && in.dtype == out.dtype,
          "reduce_scatter needs a part for each rank");
  const auto bytes = static_cast<int64_t>(bytes_of(in));
  return start(ctx, fmt::format("reduce_scatter of {} bytes", bytes), bytes * (size() - 1) / size(),
               [&](ncclComm_t comm, cudaStream_t stream) {
                 return ncclReduceScatter(in.data, out.data, static_cast<size_t>(out.count()), type_of(in),
                                          operation(op), comm, stream);
               });
}

Pending NcclCommunicator::start_all_gather(Context& ctx, View in, View out) {
  if (!on_device(out) || !even(out)) return by_host_->start_all_gather(ctx, in, out);
  require(out.count() == in.count() * size() && in.dtype == out.dtype,
          "all_gather needs room for each rank's part");
  const size_t bytes = bytes_of(in);
  return start(ctx, fmt::format("all_gather of {} bytes", bytes), static_cast<int64_t>(bytes) * (size() - 1),
               [&](ncclComm_t comm, cudaStream_t stream) {
                 return ncclAllGather(in.data, out.data, bytes, ncclUint8, comm, stream);
               });
}

Pending NcclCommunicator::start_all_to_all(Context& ctx, View in, View out, const RowCounts& rows) {
  // All ranks must take the same path, so `out` decides: on all ranks it lies on a device, or on none. `in`
  // may lie on a device although the host gathers its parts.
  if (!on_device(out)) return by_host_->start_all_to_all(ctx, in, out, rows);
  require(in.cols() == out.cols() && in.dtype == out.dtype, "all_to_all between rows of different kinds");
  const int64_t row = in.cols() * size_of(in.dtype);
  const int64_t sent = static_cast<int64_t>(bytes_of(in)) - rows.send[static_cast<size_t>(rank())] * row;
  const auto messages = [&](ncclComm_t comm, cudaStream_t stream) {
    ncclGroupStart();
    const char* from = static_cast<const char*>(in.data);
    char* to = static_cast<char*>(out.data);
    for (int p = 0; p < size(); ++p) {
      const int64_t send = rows.send[static_cast<size_t>(p)] * row,
                    receive = rows.receive[static_cast<size_t>(p)] * row;
      if (send > 0) ncclSend(from, static_cast<size_t>(send), ncclUint8, p, comm, stream);
      if (receive > 0) ncclRecv(to, static_cast<size_t>(receive), ncclUint8, p, comm, stream);
      from += send;
      to += receive;
    }
    return ncclGroupEnd();
  };
  return start(ctx, fmt::format("all_to_all of {} bytes", sent), sent, messages);
}

}  // namespace

std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Transport> axis, std::string name) {
  return std::make_unique<NcclCommunicator>(std::move(axis), std::move(name));
}

#else

bool built_with_nccl() {
  return false;
}

std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Transport>, std::string) {
  contract_broken("this build has no NCCL", std::source_location::current());
}

#endif

}  // namespace natrix
