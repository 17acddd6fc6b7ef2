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

/// The first of these variables that is set. They belong to OpenMPI, MPICH and SLURM.
int from_environment(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const char* value = std::getenv(name);
    if (value != nullptr && std::atoi(value) > 0) return std::atoi(value);
  }
  return 1;
}

}  // namespace

int launched_ranks() {
  // Not SLURM_NTASKS: it is also set in the batch script itself, which is not a rank.
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

void check(int code, std::string_view what) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw RunError(fmt::format("{}: {}", what, std::string_view(text, static_cast<size_t>(length))));
}

/// The ranks of a transport, and the settings that its messages share.
struct Group {
  MPI_Comm comm;
  std::string name;
  std::vector<int> members;  // ranks of the world
  std::shared_ptr<Watch> watch;
  int64_t most_bytes;  // of one message
  int tags;            // number of tags available to them
  int rank = 0;

  int size() const { return static_cast<int>(members.size()); }
  int world_rank(int member) const { return members[static_cast<size_t>(member)]; }
  int world_rank() const { return world_rank(rank); }
  /// Operations in flight at the same time have different tags. Tag 0 is for direct messages
  /// between two ranks.
  int tag_of(int64_t operation) const { return 1 + static_cast<int>(operation % (tags - 1)); }
};
constexpr int kDirect = 0;

class MpiExchange final : public Exchange {
 public:
  MpiExchange(const Group& group, int tag, std::string_view what) : group_(group), tag_(tag), what_(what) {}
  /// Cancels what has not arrived: the receive buffers belong to the caller, who is about to free them.
  ~MpiExchange() override {
    for (size_t i = 0; i < handles_.size(); ++i) {
      if (handles_[i] == MPI_REQUEST_NULL) continue;
      if (due_[i].bytes >= 0) MPI_Cancel(&handles_[i]);
      MPI_Request_free(&handles_[i]);
    }
  }
  MpiExchange(const MpiExchange&) = delete;
  MpiExchange& operator=(const MpiExchange&) = delete;

  void send(std::span<const std::byte> bytes, int peer) {
    in_pieces(bytes.size(), [&](size_t first, int n) {
      due_.push_back({peer, -1});
      check(MPI_Isend(bytes.data() + first, n, MPI_BYTE, peer, tag_, group_.comm, &handles_.emplace_back()),
            what_);
    });
  }
  void receive(std::span<std::byte> bytes, int peer) {
    in_pieces(bytes.size(), [&](size_t first, int n) {
      due_.push_back({peer, n});
      check(MPI_Irecv(bytes.data() + first, n, MPI_BYTE, peer, tag_, group_.comm, &handles_.emplace_back()),
            what_);
    });
  }

  bool poll() override {
    if (ended_ == handles_.size()) return true;
    int n = 0;
    done_.resize(handles_.size());
    indices_.resize(handles_.size());
    const int code =
        MPI_Testsome(static_cast<int>(handles_.size()), handles_.data(), &n, indices_.data(), done_.data());
    if (code == MPI_ERR_IN_STATUS) check_each(static_cast<size_t>(n));
    check(code, what_);
    for (size_t i = 0; i < static_cast<size_t>(n); ++i) check_size(due_of(i), done_[i]);
    ended_ += static_cast<size_t>(n);
    group_.watch->moved += n;
    return ended_ == handles_.size();
  }

  std::string lost() const override {
    std::vector<int> ranks;
    for (size_t i = 0; i < handles_.size(); ++i) {
      if (handles_[i] != MPI_REQUEST_NULL) ranks.push_back(group_.world_rank(due_[i].peer));
    }
    std::sort(ranks.begin(), ranks.end());
    ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
    return lost_rank_message(group_.world_rank(), *group_.watch, what_, group_.name, ranks);
  }

 private:
  struct Due {
    int peer;
    int64_t bytes;  // to receive; −1 for a send
  };

  /// Calls f(first byte, bytes) for each piece that one message holds. An empty message is one empty piece.
  template <class F>
  void in_pieces(size_t bytes, F&& f) const {
    size_t first = 0;
    do {
      const size_t n = std::min(bytes - first, static_cast<size_t>(group_.most_bytes));
      f(first, static_cast<int>(n));
      first += n;
    } while (first < bytes);
  }

  const Due& due_of(size_t done) const { return due_[static_cast<size_t>(indices_[done])]; }
  void check_size(const Due& due, const MPI_Status& status) const {
    if (due.bytes < 0) return;
    int got = 0;
    MPI_Get_count(&status, MPI_BYTE, &got);
    if (got != due.bytes) complain_of_size(due, got);
  }
  /// MPI reports a message longer than its buffer as an error, which does not say how long it was.
  void check_each(size_t n) const {
    for (size_t i = 0; i < n; ++i) {
      if (done_[i].MPI_ERROR == MPI_SUCCESS || done_[i].MPI_ERROR == MPI_ERR_PENDING) continue;
      int kind = 0;
      MPI_Error_class(done_[i].MPI_ERROR, &kind);
      int got = 0;
      MPI_Get_count(&done_[i], MPI_BYTE, &got);
      if (kind == MPI_ERR_TRUNCATE) complain_of_size(due_of(i), got);
      check(done_[i].MPI_ERROR, what_);
    }
  }
  [[noreturn]] void complain_of_size(const Due& due, int64_t got) const {
    throw RunError(mismatch_message(group_.world_rank(), *group_.watch, what_, group_.name,
                                    group_.world_rank(due.peer), got, due.bytes));
  }

  const Group& group_;
  int tag_;
  std::string what_;
  std::vector<MPI_Request> handles_;
  std::vector<Due> due_;
  size_t ended_ = 0;
  std::vector<MPI_Status> done_;  // of the last poll
  std::vector<int> indices_;
};

class MpiTransport final : public Transport {
 public:
  /// Takes over the group's communicator.
  explicit MpiTransport(Group group) : group_(std::move(group)) {
    MPI_Comm_rank(group_.comm, &group_.rank);
    MPI_Comm_set_errhandler(group_.comm, MPI_ERRORS_RETURN);
  }
  ~MpiTransport() override {
    int ended = 0;
    MPI_Finalized(&ended);
    // If an exception is unwinding, the other ranks are elsewhere, and the job is about to be aborted.
    const bool in_order = !ended && std::uncaught_exceptions() == 0;
    if (!in_order || !finish_sends()) {
      // MPI, or a peer through MPI, may still read the sent data: keep it until the process ends.
      static_cast<void>(new std::deque<Sent>(std::move(sent_)));
      return;
    }
    if (group_.comm != MPI_COMM_WORLD) MPI_Comm_free(&group_.comm);
  }
  MpiTransport(const MpiTransport&) = delete;
  MpiTransport& operator=(const MpiTransport&) = delete;

  int rank() const override { return group_.rank; }
  int size() const override { return group_.size(); }
  Watch& watch() override { return *group_.watch; }

  std::unique_ptr<Exchange> start_exchange(std::span<const std::span<const std::byte>> send,
                                           std::span<const std::span<std::byte>> receive, int64_t operation,
                                           std::string_view what) override {
    auto e = std::make_unique<MpiExchange>(group_, group_.tag_of(operation), what);
    for (int i = 1; i < size(); ++i) {  // each rank starts with its own successor, so that no rank is flooded
      const int from = (rank() - i + size()) % size();
      e->receive(receive[static_cast<size_t>(from)], from);
    }
    for (int i = 1; i < size(); ++i) {
      const int to = (rank() + i) % size();
      e->send(send[static_cast<size_t>(to)], to);
    }
    return e;
  }

  std::unique_ptr<Exchange> start_receive(std::span<std::byte> bytes, int peer,
                                          std::string_view what) override {
    auto e = std::make_unique<MpiExchange>(group_, kDirect, what);
    e->receive(bytes, peer);
    return e;
  }

  void send(std::span<const std::byte> bytes, int peer, std::string_view what) override {
    while (!sent_.empty() && sent_.front().exchange->poll()) sent_.pop_front();
    Sent& s = sent_.emplace_back();
    s.bytes.assign(bytes.begin(), bytes.end());
    s.exchange = std::make_unique<MpiExchange>(group_, kDirect, what);
    s.exchange->send(s.bytes, peer);
  }

  std::unique_ptr<Transport> split(int colour, std::string_view name) override {
    const std::vector<int> colours = everyones(colour);
    Group part = group_;
    part.name = name;
    part.members.clear();
    for (int p = 0; p < size(); ++p) {
      if (colours[static_cast<size_t>(p)] == colour) part.members.push_back(group_.world_rank(p));
    }
    check(MPI_Comm_split(group_.comm, colour, rank(), &part.comm), "MPI_Comm_split");
    return std::make_unique<MpiTransport>(std::move(part));
  }

 private:
  struct Sent {
    std::vector<std::byte> bytes;
    std::unique_ptr<MpiExchange> exchange;
  };

  /// Waits until the peers have received everything. Returns false if one does not receive.
  bool finish_sends() {
    try {
      for (Sent& s : sent_) {
        wait_until(
            *group_.watch, [&] { return s.exchange->poll(); }, [&] { return s.exchange->lost(); });
      }
      return true;
    } catch (const RunError&) {
      return false;
    }
  }

  Group group_;
  std::deque<Sent> sent_;  // in order; the oldest may still be in flight
};

/// The number of tags, including 0.
int tags_of_mpi() {
  void* value = nullptr;
  int found = 0;
  MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &value, &found);
  constexpr int kLeast = 32767;  // guaranteed by the standard
  return found ? std::max(*static_cast<int*>(value), kLeast) : kLeast;
}

}  // namespace

MpiSession::MpiSession(int64_t most_bytes) {
  require(most_bytes > 0 && most_bytes <= std::numeric_limits<int>::max(), "MPI counts bytes with an int");
  if (launched_ranks() <= 1) return;
  int granted = 0;
  check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &granted), "MPI_Init_thread");
  int size = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  std::vector<int> members(static_cast<size_t>(size));
  std::iota(members.begin(), members.end(), 0);
  world_ = std::make_unique<MpiTransport>(Group{.comm = MPI_COMM_WORLD,
                                                .name = "world",
                                                .members = std::move(members),
                                                .watch = std::make_shared<Watch>(),
                                                .most_bytes = most_bytes,
                                                .tags = tags_of_mpi()});
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

MpiSession::MpiSession(int64_t) {
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
