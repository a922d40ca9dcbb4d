// What is done with a loaded model: harness/scenarios.py, in C++. Nothing but `execute` lies between two readings of
// the clock.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "channel.h"
#include "counter.h"
#include "language.h"
#include "program.h"
#include "steady.h"

namespace harness {

inline int64_t now_ns() {
  using namespace std::chrono;
  return duration_cast<nanoseconds>(steady_clock::now().time_since_epoch()).count();
}

// Samples of one phase; `counted` numbers the counter's stretches that they were, where there is a counter.
struct Series {
  Json::Integers start_ns, duration_ns;
  std::vector<size_t> counted;
};

// Asks once, appends to its phases, returns the duration of the whole.
class Query {
 public:
  virtual ~Query() = default;
  virtual int64_t ask() = 0;

  std::vector<std::pair<std::string, Series>> phases;
};

// Asks the model.
class ModelQuery : public Query {
 public:
  ModelQuery(Method& method, const Counter& counter) : method_(method), counter_(counter) {}

  size_t stretches = 0;  // that the counter has counted for this query

 protected:
  int64_t timed(const std::vector<er::EValue>& inputs, Series& series) {
    counter_.begin();
    int64_t start = now_ns();
    method_.execute(inputs);
    int64_t end = now_ns();
    counter_.end();
    series.start_ns.push_back(start);
    series.duration_ns.push_back(end - start);
    if (counter_.counts()) series.counted.push_back(stretches++);
    return end - start;
  }
  Method& method_;
  const Counter& counter_;
};

class SingleQuery : public ModelQuery {
 public:
  SingleQuery(Method& method, const Counter& counter, std::vector<er::EValue> inputs, const char* phase)
      : ModelQuery(method, counter), inputs_(std::move(inputs)) {
    phases = {{phase, {}}};
  }
  int64_t ask() override { return timed(inputs_, phases[0].second); }

 private:
  std::vector<er::EValue> inputs_;
};

// The most likely next token: logits are [1, vocabulary], or [1, n, vocabulary] for all positions.
inline int64_t most_likely(const Tensor& logits) {
  auto vocabulary = static_cast<size_t>(logits.size(logits.dim() - 1));
  size_t row = static_cast<size_t>(logits.numel()) - vocabulary, best = 0;
  if (logits.scalar_type() == ScalarType::Float) {
    const float* last = logits.const_data_ptr<float>() + row;
    return std::max_element(last, last + vocabulary) - last;
  }
  for (size_t i = 1; i < vocabulary; i++)
    if (float_at(logits, row + i) > float_at(logits, row + best)) best = i;
  return static_cast<int64_t>(best);
}

// Prefill, then greedy decoding with the KV cache, until a token that ends the answer: the first new token comes out of
// the prefill. `prompts` [prompts, tokens] are asked in turn.
class GenerateQuery : public ModelQuery {
 public:
  GenerateQuery(Method& method, const Counter& counter, const Tensor& prompts, const Language& language, int64_t new_tokens,
                std::vector<int64_t> ends)
      : ModelQuery(method, counter), prompt_tokens_(prompts.size(1)), new_tokens_(new_tokens), ends_(std::move(ends)),
        start_(first_positions(language, prompt_tokens_)), token_(integer_tensor(language.token_type, {1, 1})),
        position_(one_position(language)) {
    phases = {{"ttft", {}}, {"prefill", {}}, {"decode", {}}, {"generate", {}}};
    for (int64_t row = 0; row < prompts.size(0); row++) {
      rows_.push_back(row_of(prompts, row));
      prompts_.push_back({er::EValue(*rows_.back().tensor), er::EValue(*start_.tensor)});
    }
    step_ = {er::EValue(*token_.tensor), er::EValue(*position_.tensor)};
  }

  size_t prompts() const { return prompts_.size(); }

  // As `ask`, with a look at each choice, for a query of which only the first execute is kept; gives the tokens chosen.
  Json::Integers ask_checked(const std::string& model) {
    checked_ = model;
    answer_.clear();
    ask();
    checked_.clear();
    return std::move(answer_);
  }

  int64_t ask() override {
    Series &ttft = phases[0].second, &generate = phases[3].second;
    int64_t asked = now_ns();
    timed(prompts_[next_], phases[1].second);
    next_ = (next_ + 1) % prompts_.size();
    bool goes_on = choose(prompt_tokens_);
    int64_t first_token = now_ns();
    for (int64_t at = prompt_tokens_; goes_on && at < prompt_tokens_ + new_tokens_ - 1; at++) {
      timed(step_, phases[2].second);
      goes_on = choose(at + 1);
    }
    int64_t answered = now_ns();
    ttft.start_ns.push_back(asked);
    ttft.duration_ns.push_back(first_token - asked);
    generate.start_ns.push_back(asked);
    generate.duration_ns.push_back(answered - asked);
    return answered - asked;
  }

 private:
  // Whether the token that was chosen goes on with the answer.
  bool choose(int64_t position) {
    const Tensor& logits = method_.logits();
    int64_t chosen = most_likely(logits);
    if (!checked_.empty()) {
      check(logits, chosen, position);
      answer_.push_back(chosen);
    }
    set_integer(token_, chosen);
    set_integer(position_, position);
    return std::find(ends_.begin(), ends_.end(), chosen) == ends_.end();
  }

  // NaN is never the greatest here, so that a look at all of them is needed.
  void check(const Tensor& logits, int64_t chosen, int64_t position) const {
    auto vocabulary = static_cast<size_t>(logits.size(logits.dim() - 1));
    size_t row = static_cast<size_t>(logits.numel()) - vocabulary;
    bool finite = std::isfinite(float_at(logits, row + static_cast<size_t>(chosen)));
    for (size_t i = 0; i < vocabulary && finite; i++) finite = !std::isnan(float_at(logits, row + i));
    if (!finite)
      throw Failure("model",
                    "The logits of " + checked_ + " after " + std::to_string(position) +
                        " tokens are not finite numbers (NaN or infinity).",
                    "Times of a model that computes nonsense say nothing: find what broke it, and export it again.");
  }

  int64_t prompt_tokens_, new_tokens_;
  std::vector<int64_t> ends_;
  Held start_, token_, position_;
  std::vector<Held> rows_;
  std::vector<std::vector<er::EValue>> prompts_;
  std::vector<er::EValue> step_;
  size_t next_ = 0;
  std::string checked_;
  Json::Integers answer_;
};

// Ask until the durations are steady or the cap is reached; says which. The query's own series are emptied after.
inline std::pair<Series, bool> warm_up(Query& query, double max_warmup_s) {
  Series warmup;
  SteadyRule rule;
  auto cap = static_cast<int64_t>(max_warmup_s * 1e9);
  int64_t begin = now_ns();
  while (!rule.steady() && (warmup.start_ns.empty() || now_ns() - begin < cap)) {
    warmup.start_ns.push_back(now_ns());
    warmup.duration_ns.push_back(query.ask());
    rule.add(warmup.duration_ns.back());
  }
  for (auto& [phase, series] : query.phases) series = {};
  return {warmup, rule.steady()};
}

// Ask until the least iterations and seconds are reached, or the most seconds are; returns the number of queries.
inline int64_t repeat(Query& query, int64_t iterations, double min_duration_s, double max_duration_s) {
  auto least = static_cast<int64_t>(min_duration_s * 1e9), most = static_cast<int64_t>(max_duration_s * 1e9);
  int64_t begin = now_ns();
  for (int64_t count = 0;; count++) {
    int64_t elapsed = now_ns() - begin;
    if ((count >= iterations && elapsed >= least) || (count && elapsed >= most)) return count;
    query.ask();
  }
}

}  // namespace harness
