// RankOperation: one operation of a RankCommunicator: an exchange, then a computation on what arrived, then
// possibly a second exchange.
#pragma once

#include <chrono>
#include <functional>
#include <vector>

#include "distributed/communicator.h"
#include "distributed/transport.h"

namespace natrix {

/// Memory for data that arrives and is summed. Buffers are reused: only a few are needed at a time, and the
/// same ones in every step.
class ScratchPool {
 public:
  explicit ScratchPool(Memory memory = Memory::kHost) : memory_(memory) {}
  Buffer take(int64_t bytes);
  void give_back(Buffer scratch);
  int64_t bytes() const { return bytes_; }  // high-water mark

 private:
  Memory memory_;
  std::vector<Buffer> idle_;
  int64_t out_ = 0, bytes_ = 0;
};

/// State shared by the operations of one communicator.
struct OperationBook {
  using Clock = std::chrono::steady_clock;

  Traffic traffic;
  ScratchPool scratch;
  int under_way = 0;
  Clock::time_point since;  // start of the time in which an operation is in flight

  void begin();
  Clock::time_point end();  // now
};

class RankOperation final : public Operation {
 public:
  /// Called when the first exchange has ended. Returns the next exchange, or null when there is none.
  using Then = std::function<std::unique_ptr<Exchange>()>;

  /// `then` may be empty. Everything but the scratch is borrowed. The scratch returns to the book at the end.
  RankOperation(OperationBook& book, Watch& watch, std::unique_ptr<Exchange> first, Then then,
                Buffer scratch);
  ~RankOperation() override;
  RankOperation(const RankOperation&) = delete;
  RankOperation& operator=(const RankOperation&) = delete;

  bool poll() override;
  void wait() override;

 private:
  void end();

  OperationBook& book_;
  Watch& watch_;
  std::unique_ptr<Exchange> exchange_;  // null once all has ended
  Then then_;                           // empty once called
  Buffer scratch_;
  OperationBook::Clock::time_point ended_;
};

}  // namespace natrix
