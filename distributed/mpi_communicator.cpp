#include "distributed/mpi_communicator.h"

#include <cstdlib>
#include <fmt/format.h>

#include "kernels/base/check.h"

#if NATRIX_HAS_MPI
#include <algorithm>
#include <deque>
#include <exception>
#include <limits>
#include <mpi.h>
#include <numeric>
#include <vector>

#include "distributed/waiting.h"
#endif

namespace natrix {
namespace {

/// The first of these variables that is set: those of OpenMPI, MPICH and SLURM.
int from_environment(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const char* value = std::getenv(name);
    if (value != nullptr && std::atoi(value) > 0) return std::atoi(value);
  }
  return 1;
}

}  // namespace

int launched_ranks() {
  // SLURM_NTASKS would be set in the batch script itself, too, which is no rank.
  return from_environment({"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"});
}

int launched_ranks_on_host() {
  return from_environment({"OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"});
}

#if NATRIX_HAS_MPI

bool built_with_mpi() {
  return true;
}

namespace {

constexpr int64_t kMostBytes = int64_t{1} << 30;  // of one message: MPI counts with an int
enum Tag { kCollective = 1, kDirect = 2 };

void check(int code, std::string_view what) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw RunError(fmt::format("{}: {}", what, std::string_view(text, static_cast<size_t>(length))));
}

/// Messages under way, and what each of them was to carry.
struct Requests {
  std::vector<MPI_Request> handles;
  struct Due {
    int peer;
    int64_t bytes;  // to be received; −1 for a send
  };
  std::vector<Due> due;
};

class MpiTransport final : public Transport {
 public:
  /// Takes over `comm`.
  MpiTransport(MPI_Comm comm, std::string name, std::vector<int> members, std::shared_ptr<Watch> watch)
      : comm_(comm), name_(std::move(name)), members_(std::move(members)), watch_(std::move(watch)) {
    MPI_Comm_rank(comm_, &rank_);
    MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
  }
  ~MpiTransport() override {
    int ended = 0;
    MPI_Finalized(&ended);
    // When an error unwinds, the other ranks are elsewhere; the job is about to be aborted.
    const bool in_order = !ended && std::uncaught_exceptions() == 0;
    if (!in_order || !finish_sends()) {
      // MPI, or the peer through it, may read what is under way at any time: it stays, to the process's end.
      static_cast<void>(new std::deque<Sent>(std::move(sent_)));
      return;
    }
    if (comm_ != MPI_COMM_WORLD) MPI_Comm_free(&comm_);
  }

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(members_.size()); }
  Watch& watch() override { return *watch_; }
  MPI_Comm comm() const { return comm_; }

  void exchange(std::span<const std::span<const std::byte>> send,
                std::span<const std::span<std::byte>> receive, std::string_view what) override {
    Requests requests;
    for (int i = 1; i < size(); ++i) {  // each rank begins with its own successor, so that no one is flooded
      const int from = (rank_ - i + size()) % size();
      start_receive(requests, receive[static_cast<size_t>(from)], from, kCollective, what);
    }
    for (int i = 1; i < size(); ++i) {
      const int to = (rank_ + i) % size();
      start_send(requests, send[static_cast<size_t>(to)], to, kCollective, what);
    }
    wait(requests, what);
  }

  void send(std::span<const std::byte> bytes, int peer, std::string_view what) override {
    drop_sent();
    Sent& s = sent_.emplace_back();
    s.bytes.assign(bytes.begin(), bytes.end());
    start_send(s.requests, s.bytes, peer, kDirect, what);
  }

  void receive(std::span<std::byte> bytes, int peer, std::string_view what) override {
    Requests requests;
    start_receive(requests, bytes, peer, kDirect, what);
    wait(requests, what);
  }

  std::unique_ptr<Transport> split(int colour, std::string_view name) override {
    std::vector<int> colours(static_cast<size_t>(size()), colour);
    std::vector<std::span<const std::byte>> mine(colours.size(), std::as_bytes(std::span(&colour, 1)));
    std::vector<std::span<std::byte>> theirs;
    for (int& c : colours) theirs.push_back(std::as_writable_bytes(std::span(&c, 1)));
    exchange(mine, theirs, "split");
    std::vector<int> members;
    for (int p = 0; p < size(); ++p) {
      if (colours[static_cast<size_t>(p)] == colour) members.push_back(members_[static_cast<size_t>(p)]);
    }
    MPI_Comm part = MPI_COMM_NULL;
    check(MPI_Comm_split(comm_, colour, rank_, &part), "MPI_Comm_split");
    return std::make_unique<MpiTransport>(part, std::string(name), members, watch_);
  }

 private:
  struct Sent {
    std::vector<std::byte> bytes;
    Requests requests;
  };

  /// Calls f(first byte, bytes) for pieces that an int can count; once, with nothing, for an empty message.
  template <class F>
  static void in_pieces(size_t bytes, F&& f) {
    size_t first = 0;
    do {
      const size_t n = std::min(bytes - first, static_cast<size_t>(kMostBytes));
      f(first, static_cast<int>(n));
      first += n;
    } while (first < bytes);
  }

  void start_send(Requests& r, std::span<const std::byte> bytes, int peer, Tag tag, std::string_view what) {
    in_pieces(bytes.size(), [&](size_t first, int n) {
      r.due.push_back({peer, -1});
      check(MPI_Isend(bytes.data() + first, n, MPI_BYTE, peer, tag, comm_, &r.handles.emplace_back()), what);
    });
  }
  void start_receive(Requests& r, std::span<std::byte> bytes, int peer, Tag tag, std::string_view what) {
    in_pieces(bytes.size(), [&](size_t first, int n) {
      r.due.push_back({peer, n});
      check(MPI_Irecv(bytes.data() + first, n, MPI_BYTE, peer, tag, comm_, &r.handles.emplace_back()), what);
    });
  }

  void wait(Requests& r, std::string_view what) {
    Patience patience(watch_->timeout);
    std::vector<MPI_Status> done(r.handles.size());
    std::vector<int> indices(r.handles.size());
    size_t left = r.handles.size();
    while (left > 0) {
      int n = 0;
      const int code =
          MPI_Testsome(static_cast<int>(r.handles.size()), r.handles.data(), &n, indices.data(), done.data());
      if (code == MPI_ERR_IN_STATUS)
        check_each(r, std::span(done).first(static_cast<size_t>(n)), indices, what);
      check(code, what);
      for (int i = 0; i < n; ++i)
        check_size(r.due[static_cast<size_t>(indices[static_cast<size_t>(i)])], done[static_cast<size_t>(i)],
                   what);
      left -= static_cast<size_t>(n);
      if (n > 0) {
        patience = Patience(watch_->timeout);  // the others are alive
      } else if (left > 0 && !patience.wait()) {
        const std::vector<int> lost = silent(r);
        give_up(r);
        throw RunError(lost_rank_message(world_rank(rank_), *watch_, what, name_, lost));
      }
    }
  }

  void check_size(const Requests::Due& due, const MPI_Status& status, std::string_view what) const {
    if (due.bytes < 0) return;
    int got = 0;
    MPI_Get_count(&status, MPI_BYTE, &got);
    if (got != due.bytes) complain_of_size(due, got, what);
  }
  /// A message longer than its buffer is an error of MPI's, which does not say how long it was.
  void check_each(const Requests& r, std::span<const MPI_Status> done, const std::vector<int>& indices,
                  std::string_view what) const {
    for (size_t i = 0; i < done.size(); ++i) {
      if (done[i].MPI_ERROR == MPI_SUCCESS || done[i].MPI_ERROR == MPI_ERR_PENDING) continue;
      int kind = 0;
      MPI_Error_class(done[i].MPI_ERROR, &kind);
      const Requests::Due& due = r.due[static_cast<size_t>(indices[i])];
      int got = 0;
      MPI_Get_count(&done[i], MPI_BYTE, &got);
      if (kind == MPI_ERR_TRUNCATE) complain_of_size(due, got, what);
      check(done[i].MPI_ERROR, what);
    }
  }
  [[noreturn]] void complain_of_size(const Requests::Due& due, int64_t got, std::string_view what) const {
    throw RunError(
        mismatch_message(world_rank(rank_), *watch_, what, name_, world_rank(due.peer), got, due.bytes));
  }

  std::vector<int> silent(const Requests& r) const {
    std::vector<int> ranks;
    for (size_t i = 0; i < r.handles.size(); ++i) {
      if (r.handles[i] != MPI_REQUEST_NULL) ranks.push_back(world_rank(r.due[i].peer));
    }
    std::sort(ranks.begin(), ranks.end());
    ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
    return ranks;
  }
  /// The memory of what was to be received is the caller's, who is about to lose it.
  static void give_up(Requests& r) {
    for (size_t i = 0; i < r.handles.size(); ++i) {
      if (r.handles[i] == MPI_REQUEST_NULL) continue;
      if (r.due[i].bytes >= 0) MPI_Cancel(&r.handles[i]);
      MPI_Request_free(&r.handles[i]);
    }
  }
  int world_rank(int member) const { return members_[static_cast<size_t>(member)]; }

  void drop_sent() {
    while (!sent_.empty()) {
      std::vector<MPI_Request>& handles = sent_.front().requests.handles;
      int all = 0;
      check(MPI_Testall(static_cast<int>(handles.size()), handles.data(), &all, MPI_STATUSES_IGNORE), "send");
      if (!all) return;
      sent_.pop_front();
    }
  }

  /// Waits until the peers have what was sent. False when one does not come for it.
  bool finish_sends() {
    try {
      for (Sent& s : sent_) wait(s.requests, "the last send");
      return true;
    } catch (const RunError&) {
      return false;
    }
  }

  MPI_Comm comm_;
  std::string name_;
  std::vector<int> members_;  // ranks of the world
  std::shared_ptr<Watch> watch_;
  int rank_ = 0;
  std::deque<Sent> sent_;  // in order; the oldest may still be under way
};

}  // namespace

MpiSession::MpiSession() {
  if (launched_ranks() <= 1) return;
  int granted = 0;
  check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &granted), "MPI_Init_thread");
  int size = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  std::vector<int> members(static_cast<size_t>(size));
  std::iota(members.begin(), members.end(), 0);
  world_ = std::make_unique<MpiTransport>(MPI_COMM_WORLD, "world", members, std::make_shared<Watch>());
}

MpiSession::~MpiSession() {
  if (!world_) return;
  world_.reset();
  MPI_Finalize();
}

void MpiSession::abort(int status) {
  if (world_) MPI_Abort(MPI_COMM_WORLD, status);
}

#else

bool built_with_mpi() {
  return false;
}

MpiSession::MpiSession() {
  if (launched_ranks() > 1) {
    throw RunError(fmt::format(
        "{} ranks were launched, but this natrix is built without MPI: install libopenmpi-dev and "
        "configure with -DNATRIX_MPI=on",
        launched_ranks()));
  }
}
MpiSession::~MpiSession() = default;
void MpiSession::abort(int) {}

#endif

int MpiSession::rank() const {
  return world_ ? world_->rank() : 0;
}
int MpiSession::size() const {
  return world_ ? world_->size() : 1;
}

}  // namespace natrix
