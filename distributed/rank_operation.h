// RankOperation: one operation of a RankCommunicator, from its start to its end: an exchange, then what is
// made of what came, then perhaps a second exchange.
#pragma once

#include <chrono>
#include <functional>
#include <vector>

#include "distributed/communicator.h"
#include "distributed/transport.h"

namespace natrix {

/// Memory for what arrives and is summed. Kept from operation to operation: there are a few at a time, in
/// every step the same.
class ScratchPool {
 public:
  explicit ScratchPool(Memory memory = Memory::kHost) : memory_(memory) {}
  Buffer take(int64_t bytes);
  void give_back(Buffer scratch);
  int64_t bytes() const { return bytes_; }  // most there ever were

 private:
  Memory memory_;
  std::vector<Buffer> idle_;
  int64_t out_ = 0, bytes_ = 0;
};

/// What the operations of one communicator share.
struct OperationBook {
  using Clock = std::chrono::steady_clock;

  Traffic traffic;
  ScratchPool scratch;
  int under_way = 0;
  Clock::time_point since;  // there is one under way

  void begin();
  Clock::time_point end();  // now
};

class RankOperation final : public Operation {
 public:
  /// Called when the first exchange has ended; the second, or null: that was all.
  using Then = std::function<std::unique_ptr<Exchange>()>;

  /// `then` may be empty. All borrowed but the scratch, which goes back into the book when all has ended.
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
  std::unique_ptr<Exchange> exchange_;  // null: all has ended
  Then then_;                           // empty once it was called
  Buffer scratch_;
  OperationBook::Clock::time_point ended_;
};

}  // namespace natrix
