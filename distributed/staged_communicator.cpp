#include "distributed/staged_communicator.h"

#include "kernels/base/transfer.h"

namespace natrix {
namespace {

/// Host memory for an operation's output: `out` itself, or a buffer that is copied to `out` at the end.
class Landing {
 public:
  explicit Landing(View out) : out_(out), view_(out) {
    if (!out || memory_of(out.data) == Memory::kHost) return;
    buffer_ = Buffer(out.dtype, out.shape);
    view_ = buffer_.view();
  }
  View view() const { return view_; }
  void bring_up(Context& ctx) const {
    if (buffer_) upload(ctx, view_, out_);
  }

 private:
  View out_, view_;
  Buffer buffer_;
};

/// An operation between hosts, followed by the copy to the device.
class StagedOperation final : public Operation {
 public:
  StagedOperation(Context& ctx, OnHost from, Landing to, Pending inner)
      : ctx_(ctx), from_(std::move(from)), to_(std::move(to)), inner_(std::move(inner)) {}

  bool poll() override {
    if (ended_) return true;
    if (!inner_.poll()) return false;
    end();
    return true;
  }
  void wait() override {
    if (ended_) return;
    inner_.wait();
    end();
  }

 private:
  void end() {
    to_.bring_up(ctx_);
    ended_ = true;
  }

  Context& ctx_;
  OnHost from_;
  Landing to_;
  Pending inner_;  // must end before the memory it uses is freed
  bool ended_ = false;
};

/// Runs start(from, to) on host memory.
template <class Start>
Pending staged(Context& ctx, View in, View out, Start&& start) {
  OnHost from(ctx, in);
  Landing to(out);
  Pending inner = start(from.view(), to.view());
  return Pending(std::make_unique<StagedOperation>(ctx, std::move(from), std::move(to), std::move(inner)));
}

}  // namespace

StagedCommunicator::StagedCommunicator(std::unique_ptr<Communicator> between_hosts)
    : inner_(std::move(between_hosts)) {}

Pending StagedCommunicator::start_all_reduce(Context& ctx, View inout, Reduce op) {
  return staged(ctx, {}, inout, [&](View, View here) {
    if (here.data != inout.data) download(ctx, inout, here);
    return inner_->start_all_reduce(host_, here, op);
  });
}

Pending StagedCommunicator::start_reduce_scatter(Context& ctx, View in, View out, Reduce op) {
  return staged(ctx, in, out,
                [&](View from, View to) { return inner_->start_reduce_scatter(host_, from, to, op); });
}

Pending StagedCommunicator::start_all_gather(Context& ctx, View in, View out) {
  return staged(ctx, in, out, [&](View from, View to) { return inner_->start_all_gather(host_, from, to); });
}

Pending StagedCommunicator::start_all_to_all(Context& ctx, View in, View out, const RowCounts& rows) {
  return staged(ctx, in, out,
                [&](View from, View to) { return inner_->start_all_to_all(host_, from, to, rows); });
}

void StagedCommunicator::send(Context& ctx, View v, int peer) {
  const OnHost from(ctx, v);
  inner_->send(host_, from.view(), peer);
}

void StagedCommunicator::receive(Context& ctx, View v, int peer) {
  const Landing to(v);
  inner_->receive(host_, to.view(), peer);
  to.bring_up(ctx);
}

}  // namespace natrix
