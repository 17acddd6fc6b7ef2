// LocalRoute: how one process stores the states that a segment hands to the next.
#include "core/carry/carry_route.h"

#include <gtest/gtest.h>

namespace natrix {
namespace {

constexpr CarryKey kKey{.layer = 3, .part = 1};

View room_in(CarryLink& link) {
  return link.room(kKey, Dtype::kF32, {2, 5}, Memory::kHost);
}
View entered(CarryLink& link) {
  return link.enter(kKey, Dtype::kF32, {2, 5}, [] { return SegmentMap{}; });
}

TEST(LocalRoute, AStateWrittenIntoItsRoomIsNotCopied) {
  LocalRoute route;
  for (int segment = 0; segment < 4; ++segment) {
    route.begin_segment(false);
    const View before = entered(route), room = room_in(route);
    EXPECT_NE(room.data, before.data);
    if (before) {
      EXPECT_EQ(before.as<float>()[9], static_cast<float>(segment - 1));
    }
    room.as<float>()[9] = static_cast<float>(segment);
    route.leave(kKey, room);
    EXPECT_EQ(route.carried().at(kKey).data, room.data);
  }
}

TEST(LocalRoute, AStateFromElsewhereIsCopied) {
  LocalRoute route;
  Buffer state(Dtype::kF32, {2, 5});
  state.view().as<float>()[9] = 7;
  route.begin_segment(false);
  route.leave(kKey, state.view());
  state.view().as<float>()[9] = 8;
  route.begin_segment(false);
  EXPECT_EQ(entered(route).as<float>()[9], 7);
}

TEST(RecordingLink, GivesTheRoomOfTheRouteWithin) {
  LocalRoute route;
  CarryStates boundary;
  RecordingLink link(route, boundary);
  const View room = room_in(link);
  ASSERT_TRUE(static_cast<bool>(room));
  EXPECT_EQ(room.data, route.carried().at(kKey).data);
}

}  // namespace
}  // namespace natrix
