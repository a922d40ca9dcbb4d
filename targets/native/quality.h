// How good the very file is that is timed: loss on given tokens, or outputs for the harness to compare.
#pragma once

#include <cmath>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "channel.h"
#include "describe.h"
#include "language.h"
#include "program.h"
#include "scenarios.h"
#include "sha256.h"
#include "tensors.h"

namespace harness {

inline constexpr const char* kAllLogits = "forward_all_logits";
inline constexpr size_t kMostSavedLogits = 1 << 24;  // 64 MB of them

// Write arrays into the folder of a job, and say so.
inline void write_output(Channel& channel, const std::string& folder, const std::string& name, const std::string& bytes) {
  std::string path = folder + "/" + name;
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file) throw Failure("outputs", path + " cannot be written.", "Free space on the device.");
  channel.emit("output", {{"file", path}, {"sha256", sha256(bytes)}});
}

inline std::vector<float> floats(const Tensor& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.numel()));
  for (size_t i = 0; i < values.size(); i++) values[i] = static_cast<float>(float_at(tensor, i));
  return values;
}

// Run every set of inputs once and leave all outputs, named setN_outputM; a number is an array of one.
inline void outputs(Channel& channel, Method& method, const std::vector<std::vector<er::EValue>>& sets, const std::string& folder) {
  std::vector<NumberArray> arrays;
  for (size_t set = 0; set < sets.size(); set++) {
    method.execute(sets[set]);
    for (size_t i = 0; i < method.outputs(); i++) {
      const er::EValue& value = method.output(i);
      std::string name = "set" + std::to_string(set) + "_output" + std::to_string(i);
      if (value.isTensor()) arrays.push_back(number_array(name, value.toTensor()));
      else if (value.isInt()) arrays.push_back({name, {Json(1)}, {static_cast<double>(value.toInt())}, true});
      else if (value.isDouble()) arrays.push_back({name, {Json(1)}, {value.toDouble()}, true});
      else if (value.isBool()) arrays.push_back({name, {Json(1)}, {value.toBool() ? 1.0 : 0.0}, true});
    }
  }
  write_output(channel, folder, "outputs.safetensors", encode_tensors(arrays));
}

// The tokens of `held` as 64-bit integers.
inline std::vector<int64_t> integers(const Tensor& tensor) {
  if (tensor.scalar_type() != ScalarType::Long || tensor.dim() != 1)
    throw Failure("usage", "The evaluation text is no list of 64-bit tokens.", "Give the tokens as an int64 .npy.");
  const auto* values = tensor.const_data_ptr<int64_t>();
  return {values, values + tensor.numel()};
}

// Logits [T, vocabulary] of a window, one call of the timed method a token.
inline std::vector<float> step_by_step(Method& forward, const Language& language, const int64_t* tokens, int64_t count) {
  Held token = integer_tensor(language.token_type, {1, 1}), position = one_position(language);
  std::vector<float> logits;
  for (int64_t i = 0; i < count; i++) {
    set_integer(token, tokens[i]);
    set_integer(position, i);
    forward.execute({er::EValue(*token.tensor), er::EValue(*position.tensor)});
    auto row = floats(forward.logits());
    logits.insert(logits.end(), row.begin(), row.end());
  }
  return logits;
}

// Logits [T, vocabulary] of a window, all at once.
inline std::vector<float> at_once(Method& all, ScalarType type, const int64_t* tokens, int64_t count) {
  Held given = integers_tensor(type, {1, static_cast<executorch::aten::SizesType>(count)}, {tokens, tokens + count});
  all.execute({er::EValue(*given.tensor)});
  return floats(all.logits());
}

// The negative log-likelihood of `target` in nats.
inline double surprise(const float* logits, size_t vocabulary, int64_t target) {
  double largest = -std::numeric_limits<double>::infinity(), sum = 0;
  for (size_t i = 0; i < vocabulary; i++) largest = std::max(largest, static_cast<double>(logits[i]));
  for (size_t i = 0; i < vocabulary; i++) sum += std::exp(static_cast<double>(logits[i]) - largest);
  return largest + std::log(sum) - static_cast<double>(logits[target]);
}

// The mean loss in nats a token, teacher-forced over windows that do not overlap, as harness/worker/quality.py
// computes it. `most` bounds the predictions (0: all); where it does, the logits are left in `folder`.
inline void loss(Channel& channel, const Program& program, Method& forward, const Description& description,
                 const std::optional<Language>& language, const std::vector<int64_t>& tokens, int64_t most,
                 const std::string& folder) {
  std::unique_ptr<Method> all = program.has(kAllLogits) ? program.load(kAllLogits) : nullptr;
  if (!all && !language)
    throw Failure("usage", program.path() + " is no language model by a convention that harness knows, so that it has no loss on a text.",
                  "Give --inputs in place of a text, or leave quality out (--no-quality).");
  if (!all && !language->dynamic && language->most_tokens != 1)
    throw Failure("usage", program.path() + " takes exactly " + std::to_string(language->most_tokens) +
                               " tokens at once, so that its loss cannot be had one token after the other.",
                  "Export it with a dynamic number of tokens, or leave quality out (--no-quality).");
  int64_t context = all ? program.meta(kAllLogits).input_tensor_meta(0)->sizes()[1] : description.integer("get_max_seq_len");
  auto vocabulary = description.integer("get_vocab_size");
  for (int64_t token : tokens)
    if (token < 0 || token >= vocabulary)
      throw Failure("usage",
                    "The evaluation text has token " + std::to_string(token) + ", the model knows " +
                        std::to_string(vocabulary) + " tokens.",
                    "Give the text in the model's own tokens (--tokens).");
  auto windows = (static_cast<int64_t>(tokens.size()) - 1) / context;
  if (most) windows = std::min(windows, std::max<int64_t>(1, most / context));
  if (windows < 1)
    throw Failure("usage",
                  "The evaluation text has " + std::to_string(tokens.size()) + " tokens, the model's context is " +
                      std::to_string(context) + ".",
                  "Give a longer text.");
  double total = 0, apart = 0;
  size_t columns = 0;
  std::vector<float> saved;
  for (int64_t window = 0; window < windows; window++) {
    const int64_t* first = tokens.data() + window * context;
    auto logits = all ? at_once(*all, program.meta(kAllLogits).input_tensor_meta(0)->scalar_type(), first, context)
                      : step_by_step(forward, *language, first, context);
    size_t width = columns = logits.size() / static_cast<size_t>(context);
    if (width < static_cast<size_t>(vocabulary))
      throw Failure("model", "The model returns " + std::to_string(width) + " logits for a token, but says that it knows " +
                                 std::to_string(vocabulary) + " tokens.",
                    "Export it with a `get_vocab_size` that fits its logits.");
    if (all && language && window == 0) {
      auto steps = step_by_step(forward, *language, first, context);
      for (size_t i = 0; i < steps.size(); i++) apart = std::max(apart, std::abs(double{logits[i]} - double{steps[i]}));
    }
    for (int64_t i = 0; i < context; i++)
      total += surprise(logits.data() + static_cast<size_t>(i) * width, width, first[i + 1]);
    if (most && saved.size() + logits.size() <= kMostSavedLogits) saved.insert(saved.end(), logits.begin(), logits.end());
    if (window % 50 == 0) channel.emit("progress", {{"done", window}, {"total", windows}});
  }
  if (!saved.empty() && !folder.empty()) {
    write_output(channel, folder, "outputs.safetensors",
                 encode_tensors({{"logits", {Json(saved.size() / columns), Json(columns)}, {saved.begin(), saved.end()}, false}}));
  }
  if (!std::isfinite(total)) {
    channel.scalar("loss_nats", nullptr, "the model's loss is not a number");
    return;
  }
  channel.scalar("loss_nats", total / static_cast<double>(windows * context));
  channel.scalar("predicted_tokens", windows * context);
  if (all && language) channel.scalar("max_abs_difference_between_methods", apart);
}

}  // namespace harness
