// Transport: moves bytes between ranks. A Communicator is built on it. One implementation serves threads of
// one process (thread_communicator.h), one serves MPI (mpi_communicator.h).
//
// Every wait ends after Watch::timeout seconds without progress, with a RunError that names the waiting rank,
// the step and operation, and the ranks it waited for. So a lost rank is an error and not a hang.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace natrix {

class Operation;

/// State of a rank's waits. One per process, shared by all its transports.
struct Watch {
  double timeout = 300;  // seconds; parallel.timeout
  int64_t step = 0;      // step that the run is in, for messages

  /// Operations in flight over all transports. A rank that waits for one of them advances all of them,
  /// because another rank may be waiting for those.
  std::vector<Operation*> under_way = {};
  int64_t moved = 0;  // messages completed; while this grows, no rank counts as lost
};

/// Messages in flight between this rank and others.
class Exchange {
 public:
  /// Cancels what has not arrived.
  virtual ~Exchange() = default;
  /// Advances the messages. Returns true once all are complete. Throws RunError if one has an
  /// unexpected size.
  virtual bool poll() = 0;
  /// The error message for a timeout of this exchange.
  virtual std::string lost() const = 0;
};

class Transport {
 public:
  virtual ~Transport() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// Returns a number for start_exchange. All ranks start the same operations in the same order.
  int64_t begin_operation() { return operations_++; }
  /// Collective. send[p] goes to rank p and receive[p] comes from rank p; the entries of this rank itself are
  /// ignored. Sizes must agree on both sides and may be zero. The memory must stay valid, and unwritten by
  /// the caller, until the exchange has ended; the transport must outlive the exchange. Messages of different
  /// operations are kept apart; those of one operation arrive in order. `what` names the operation in errors.
  virtual std::unique_ptr<Exchange> start_exchange(std::span<const std::span<const std::byte>> send,
                                                   std::span<const std::span<std::byte>> receive,
                                                   int64_t operation, std::string_view what) = 0;
  virtual std::unique_ptr<Exchange> start_receive(std::span<std::byte> bytes, int peer,
                                                  std::string_view what) = 0;
  /// Copies the bytes and returns at once.
  virtual void send(std::span<const std::byte> bytes, int peer, std::string_view what) = 0;

  /// The same operations, run to their end.
  void exchange(std::span<const std::span<const std::byte>> send,
                std::span<const std::span<std::byte>> receive, std::string_view what);
  void receive(std::span<std::byte> bytes, int peer, std::string_view what);

  /// Collective. Ranks that pass the same colour form a new transport, in the same order. `name`
  /// (of a mesh axis) appears in errors. The new transport borrows nothing from this one.
  virtual std::unique_ptr<Transport> split(int colour, std::string_view name) = 0;
  virtual Watch& watch() = 0;
  /// Collective. Returns each rank's number.
  std::vector<int> everyones(int number);

 private:
  int64_t operations_ = 0;
};

}  // namespace natrix
