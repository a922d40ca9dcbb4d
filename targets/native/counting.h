// Samples where an emulator counts instructions: it has no clock, so that durations are null.
#pragma once

#include <array>
#include <string>

#include "channel.h"
#include "counter.h"
#include "scenarios.h"

namespace harness {

// One event a phase, and the mean of every class of instructions over its samples. Phases that time more than
// `execute` are not counted and left out.
inline void emit_counts(Channel& channel, const std::string& phase, const Series& series, const std::vector<Counts>& all) {
  static constexpr const char* kNames[] = HARNESS_CLASS_NAMES;
  if (series.counted.empty()) return;
  Json::Integers starts, instructions;
  Counts sums{};
  for (size_t i = 0; i < series.counted.size(); i++) {
    const Counts& counts = all[series.counted[i]];
    starts.push_back(series.start_ns[i]);
    instructions.push_back(static_cast<int64_t>(counts[0]));
    for (size_t j = 0; j < counts.size(); j++) sums[j] += counts[j];
  }
  channel.emit("samples",
               {{"phase", phase}, {"start_ns", starts}, {"duration_ns", nullptr}, {"instructions", instructions}});
  for (size_t j = 1; j < sums.size(); j++)
    channel.scalar((std::string("instructions_") + kNames[j]).c_str(),
                   static_cast<double>(sums[j]) / static_cast<double>(series.counted.size()), nullptr, phase);
}

}  // namespace harness
