// Transport: bytes between ranks. What a Communicator is built on; one implementation for threads of one
// process (thread_communicator.h), one for MPI (mpi_communicator.h).
//
// Every wait ends after Watch::timeout seconds in which nothing moved, in a RunError that says which rank
// waited, in which step and operation, and for whom: a lost rank is an error and not a hang.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace natrix {

class Operation;

/// What a rank that waits knows of itself. One per process, shared by all its transports.
struct Watch {
  double timeout = 300;  // seconds; parallel.timeout
  int64_t step = 0;      // that the run is in

  /// Begun and not ended, over all transports: who waits for one moves the others on, too, for another rank
  /// may be waiting for those.
  std::vector<Operation*> under_way = {};
  int64_t moved = 0;  // messages that have come and gone: while they do, nobody is lost
};

/// Messages under way between this rank and others.
class Exchange {
 public:
  /// Gives up what has not come.
  virtual ~Exchange() = default;
  /// Moves them on; true once all have come and gone. RunError where one has another size than was due.
  virtual bool poll() = 0;
  /// The words of a rank that waits for them in vain.
  virtual std::string lost() const = 0;
};

class Transport {
 public:
  virtual ~Transport() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// A number for start_exchange: all ranks begin the same operations in the same order.
  int64_t begin_operation() { return operations_++; }
  /// Collective. send[p] goes to rank p while receive[p] comes from it; the entries of this rank itself are
  /// ignored. Sizes agree on both sides, and any may be zero. What they span stays until the exchange has
  /// ended and is not written meanwhile; the transport lives longer. Messages of different operations do not
  /// meet, those of one meet in order. `what` names the operation in errors.
  virtual std::unique_ptr<Exchange> start_exchange(std::span<const std::span<const std::byte>> send,
                                                   std::span<const std::span<std::byte>> receive,
                                                   int64_t operation, std::string_view what) = 0;
  virtual std::unique_ptr<Exchange> start_receive(std::span<std::byte> bytes, int peer,
                                                  std::string_view what) = 0;
  /// Returns at once: the bytes are copied.
  virtual void send(std::span<const std::byte> bytes, int peer, std::string_view what) = 0;

  /// The same, to their end.
  void exchange(std::span<const std::span<const std::byte>> send,
                std::span<const std::span<std::byte>> receive, std::string_view what);
  void receive(std::span<std::byte> bytes, int peer, std::string_view what);

  /// Collective. The ranks that pass the same colour make up a transport of their own, in the same order.
  /// `name` (of a mesh axis) appears in errors. It borrows nothing from this one.
  virtual std::unique_ptr<Transport> split(int colour, std::string_view name) = 0;
  virtual Watch& watch() = 0;
  /// Collective. Each rank's number.
  std::vector<int> everyones(int number);

 private:
  int64_t operations_ = 0;
};

}  // namespace natrix
