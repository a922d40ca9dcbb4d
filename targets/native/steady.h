// When a process is warm: the rule of harness/statistics/steady.py, to the same last bit.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <deque>
#include <vector>

namespace harness {

class SteadyRule {
 public:
  void add(int64_t duration_ns) {
    recent_.push_back(duration_ns);
    if (recent_.size() > kWindow) recent_.pop_front();
  }

  // The window is full and its durations, without the slowest tenth, vary by less than 2 %.
  bool steady() const {
    if (recent_.size() < kWindow) return false;
    std::vector<int64_t> kept(recent_.begin(), recent_.end());
    std::sort(kept.begin(), kept.end());
    kept.resize(kWindow - kWindow / 10);
    int64_t sum = 0;
    for (int64_t value : kept) sum += value;
    double mean = static_cast<double>(sum) / static_cast<double>(kept.size()), squares = 0;
    for (int64_t value : kept) squares += (static_cast<double>(value) - mean) * (static_cast<double>(value) - mean);
    return std::sqrt(squares / static_cast<double>(kept.size())) < kMaxVariation * mean;
  }

 private:
  static constexpr size_t kWindow = 30;
  static constexpr double kMaxVariation = 0.02;
  std::deque<int64_t> recent_;
};

}  // namespace harness
