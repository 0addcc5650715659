#pragma once
// Two vocabularies. TORCH_CHECK and its kin speak to the user about the user's mistake. The macro
// below speaks about ours: a promise of the runtime that did not hold.
#include <c10/util/Exception.h>

#define STORM_INVARIANT(cond, ...)                                         \
  TORCH_CHECK(cond, "pamiq_storm: internal invariant broken: " #cond ". ", \
              ::c10::str(__VA_ARGS__),                                     \
              " This is a defect of pamiq_storm, not of your program; please report it.")
