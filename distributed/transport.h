// Transport: bytes between ranks. What a Communicator is built on; one implementation for threads of one
// process (thread_communicator.h), one for MPI (mpi_communicator.h).
//
// Every call waits at most Watch::timeout seconds, then ends in a RunError that says which rank waited, in
// which step and operation, and for whom: a lost rank is an error and not a hang.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

namespace natrix {

/// What a rank that waits too long says of itself. One per process, shared by all its transports.
struct Watch {
  double timeout = 300;  // seconds; parallel.timeout
  int64_t step = 0;      // that the run is in
};

class Transport {
 public:
  virtual ~Transport() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// Collective. send[p] goes to rank p while receive[p] comes from it; the entries of this rank itself are
  /// ignored. Sizes agree on both sides, and any may be zero. `what` names the operation in errors.
  virtual void exchange(std::span<const std::span<const std::byte>> send,
                        std::span<const std::span<std::byte>> receive, std::string_view what) = 0;
  /// Returns at once: the bytes are copied.
  virtual void send(std::span<const std::byte> bytes, int peer, std::string_view what) = 0;
  virtual void receive(std::span<std::byte> bytes, int peer, std::string_view what) = 0;

  /// Collective. The ranks that pass the same colour make up a transport of their own, in the same order.
  /// `name` (of a mesh axis) appears in errors. It borrows nothing from this one.
  virtual std::unique_ptr<Transport> split(int colour, std::string_view name) = 0;
  virtual Watch& watch() = 0;
};

}  // namespace natrix
