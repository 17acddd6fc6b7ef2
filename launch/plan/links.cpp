#include "launch/plan/links.h"

#include <algorithm>
#include <fmt/format.h>

#include "kernels/base/check.h"

namespace natrix {
namespace {

const LinkFigures& existing(const MachineConfig& m, const LinkFigures& link, const MeshShape& shape) {
  if (link.bandwidth) return link;
  throw InputError(
      fmt::format("--device: {} {}, so {} ranks cannot be planned on it; give at most {}, or a machine whose "
                  "YAML says what joins them",
                  m.device.name,
                  &link == &m.network ? fmt::format("has no network between nodes of {}", m.node_devices)
                                      : "has no link between the devices of a node",
                  shape.ranks(), &link == &m.network ? m.node_devices : 1));
}

/// The number of ranks of an axis that share a node.
int64_t on_a_node(const MachineConfig& m, const MeshShape& shape, MeshAxis axis) {
  const int64_t stride = axis == MeshAxis::kExpertData ? shape.ep : 1;
  return std::clamp<int64_t>(m.node_devices / stride, 1, axis_size(shape, axis));
}

}  // namespace

Wait exchange_time(const MachineConfig& m, const MeshShape& shape, const CommunicationTerm& term) {
  const int64_t size = axis_size(shape, term.axis), near = on_a_node(m, shape, term.axis);
  if (size == 1) return {};
  const auto ranks = static_cast<double>(shape.ranks());
  const double bytes = static_cast<double>(term.bytes) / ranks;
  const double messages = static_cast<double>(term.messages) / ranks;
  const double inside = static_cast<double>(near - 1) / static_cast<double>(size - 1);
  double node = 0, network = 0, posting = 0;
  if (near > 1) {
    const LinkFigures& link = existing(m, m.node, shape);
    node = inside * bytes / link.rate();
    posting += inside * messages * link.overhead;
  }
  if (near < size) {
    const LinkFigures& link = existing(m, m.network, shape);
    network = (1 - inside) * bytes / link.rate();
    posting += (1 - inside) * messages * link.overhead;
  }
  const double latency = static_cast<double>(term.calls) * (near < size ? m.network : m.node).latency;
  const double most = std::max({node, network, posting, latency});
  return {.seconds = std::max(node, network) + posting + latency,
          .bound = most == network   ? "network"
                   : most == node    ? "node link"
                   : most == posting ? "messages"
                                     : "latency"};
}

double message_time(const MachineConfig& m, const MeshShape& shape, MeshAxis axis, int64_t bytes) {
  const bool stays = on_a_node(m, shape, axis) == axis_size(shape, axis);
  const LinkFigures& link = existing(m, stays ? m.node : m.network, shape);
  return link.latency + link.overhead + static_cast<double>(bytes) / link.rate();
}

}  // namespace natrix
