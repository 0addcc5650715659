#include "engine/tail.h"

#include "harness.h"

using storm::Tail;

namespace {

int kept(Tail& tail, const std::vector<size_t>& sizes) {
  Tail::Run run;
  int count = 0;
  for (size_t size : sizes) count += tail.is_last(run, size) ? 1 : 0;
  tail.learn(std::move(run));
  return count;
}

}  // namespace

TEST(the_first_forward_keeps_nothing_and_the_second_knows_the_end) {
  Tail tail(100);
  EXPECT_EQ(kept(tail, {50, 60, 40, 30}), 0);
  EXPECT_EQ(kept(tail, {50, 60, 40, 30}), 2);
}

TEST(a_forward_that_differs_is_followed_only_while_it_is_the_same) {
  Tail tail(100);
  kept(tail, {50, 60, 40, 30});
  EXPECT_EQ(kept(tail, {50, 61, 40, 30}), 0);
  EXPECT_EQ(kept(tail, {50, 61, 40, 30, 20}), 2);  // it could not know that one more would come
}

TEST(nothing_larger_than_the_bound_is_kept) {
  Tail tail(100);
  kept(tail, {10, 200});
  EXPECT_EQ(kept(tail, {10, 200}), 0);
}

TEST(an_empty_forward_teaches_nothing) {
  Tail tail(100);
  kept(tail, {10, 20});
  kept(tail, {});
  EXPECT_EQ(kept(tail, {10, 20}), 2);
}
