// The simulator looks for races in every test of a program that asks for it.
#pragma once

#include "harness.h"
#include "sim/races/detector.h"
#include "sim/sim.h"

// To be called with the settings of the first sim::enable.
inline void allow_no_races(storm::sim::Config& config) {
  config.races = true;
  harness::after_each_test([] {
    for (const auto& race : storm::sim::detector().races()) {
      harness::fail("race", 0,
                    race.kind + ": " + race.first.operation + " " + race.first.tensor + " on " +
                        race.first.actor + ", " + race.second.operation + " " + race.second.tensor +
                        " on " + race.second.actor + "; " + race.missing);
    }
    storm::sim::detector().clear_races();
  });
}
