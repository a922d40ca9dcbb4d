// When a process is warm: the rule of harness/statistics/steady.py, to the same decision.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <vector>

namespace harness {

// Steady once the medians of both halves of the window differ by at most 1.5 %. The window is the last 180 queries, or
// as many of the fastest as fit 0.2 s where that is fewer, but never fewer than ten; it is looked at when it has filled
// and after each quarter of it.
class SteadyRule {
 public:
  void add(int64_t duration_ns) {
    recent_.push_back(duration_ns);
    if (static_cast<int64_t>(recent_.size()) > kWindow) recent_.pop_front();
    if (--until_look_) return;
    int64_t fastest = *std::min_element(recent_.begin(), recent_.end());
    int64_t window = std::min(kWindow, std::max(kLeast, kWindowNs / std::max<int64_t>(1, fastest)));
    auto count = static_cast<int64_t>(recent_.size());
    if (window > count) {
      until_look_ = window - count;
      return;
    }
    until_look_ = window / 4;
    steady_ = level(window);
  }

  bool steady() const { return steady_; }

 private:
  static constexpr int64_t kWindow = 180, kLeast = 10, kWindowNs = 200'000'000;
  static constexpr double kMaxDifference = 0.015;

  bool level(int64_t window) const {
    int64_t half = window / 2;
    int64_t first = median({recent_.end() - window, recent_.end() - window + half});
    int64_t last = median({recent_.end() - half, recent_.end()});
    return static_cast<double>(std::abs(first - last)) <= kMaxDifference * static_cast<double>(std::min(first, last));
  }

  static int64_t median(std::vector<int64_t> values) {
    auto middle = values.begin() + (static_cast<int64_t>(values.size()) - 1) / 2;
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
  }

  std::deque<int64_t> recent_;
  int64_t until_look_ = kLeast;
  bool steady_ = false;
};

}  // namespace harness
