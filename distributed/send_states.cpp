#include "distributed/send_states.h"

#include <array>

namespace natrix {
namespace {

/// Header of one state: layer, part, dtype, rank and extents of its shape.
constexpr int64_t kHeader = 4 + Shape::kMaxRank;

/// Header of appended rows: layer, part, dtype, heads, head_dim, batch, first token that is held, tokens.
using RowHeader = std::array<int64_t, 8>;

}  // namespace

void send_states(Communicator& axis, Context& ctx, const CarryStates& states, int peer) {
  auto count = static_cast<int64_t>(states.entries().size());
  axis.send(ctx, View(&count, Dtype::kI64, {1}), peer);
  for (const auto& [key, buffer] : states.entries()) {
    const View v = buffer.view();
    std::array<int64_t, kHeader> header = {key.layer, key.part, static_cast<int64_t>(v.dtype),
                                           v.shape.rank()};
    for (int i = 0; i < v.shape.rank(); ++i) header[static_cast<size_t>(4 + i)] = v.shape[i];
    axis.send(ctx, View(header.data(), Dtype::kI64, {kHeader}), peer);
    axis.send(ctx, v, peer);
  }
  count = static_cast<int64_t>(states.appended().size());
  axis.send(ctx, View(&count, Dtype::kI64, {1}), peer);
  for (const auto& [key, rows] : states.appended()) {
    const RowStore& store = *rows.store;
    const int64_t first = store.begin();
    const RowFormat& format = store.format();
    RowHeader header = {key.layer,    key.part,           static_cast<int64_t>(format.dtype),
                        format.heads, format.head_dim,    store.batch(),
                        first,        rows.length - first};
    axis.send(ctx, View(header.data(), Dtype::kI64, {std::ssize(header)}), peer);
    const Buffer held(format.dtype, {store.batch(), rows.length - first, format.width()}, store.memory());
    store.read(ctx, first, held.view());
    if (rows.length > first) axis.send(ctx, held.view(), peer);
  }
}

CarryStates receive_states(Communicator& axis, Context& ctx, int peer) {
  CarryStates states;
  int64_t count = 0;
  axis.receive(ctx, View(&count, Dtype::kI64, {1}), peer);
  for (int64_t n = 0; n < count; ++n) {
    std::array<int64_t, kHeader> header{};
    axis.receive(ctx, View(header.data(), Dtype::kI64, {kHeader}), peer);
    Shape shape;
    for (int i = 0; i < header[3]; ++i) shape.push_back(header[static_cast<size_t>(4 + i)]);
    const CarryKey key{static_cast<int>(header[0]), static_cast<int>(header[1])};
    states.make(key, static_cast<Dtype>(header[2]), shape);
    axis.receive(ctx, states.at(key), peer);
  }
  axis.receive(ctx, View(&count, Dtype::kI64, {1}), peer);
  for (int64_t n = 0; n < count; ++n) {
    RowHeader header{};
    axis.receive(ctx, View(header.data(), Dtype::kI64, {std::ssize(header)}), peer);
    const auto [layer, part, dtype, heads, head_dim, batch, first, tokens] = header;
    const RowFormat format{static_cast<Dtype>(dtype), heads, head_dim};
    auto store = std::make_shared<RowStore>(format, batch, ctx.memory());
    const Buffer held(format.dtype, {batch, tokens, format.width()}, ctx.memory());
    if (tokens > 0) axis.receive(ctx, held.view(), peer);
    store->fill_zero(first, first);  // those before belong to documents that have ended
    if (tokens > 0) store->write(ctx, first, held.view());
    states.put_rows({static_cast<int>(layer), static_cast<int>(part)}, {store, first + tokens});
  }
  return states;
}

}  // namespace natrix
