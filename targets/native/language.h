// How a language model is asked, recognised by the sizes of its inputs: `forward(tokens [1, n], positions)` with a cache.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "describe.h"
#include "plan.h"
#include "program.h"
#include "tensors.h"

namespace harness {

// What the second input is: the position of the first token in [1] (ExecuTorch's own exporter), the same as a 0-d
// tensor, or one position for each token in [n] (Hugging Face's `cache_position`).
enum class Positions { kFirst, kScalar, kEach };

struct Language {
  ScalarType token_type, position_type;
  Positions positions;
  int64_t most_tokens;  // that it takes at once
  bool dynamic;         // whether it takes fewer, too
};

// One integer as a tensor of these sizes, which have one element: [1, 1], [1] or [].
inline Held integer_tensor(ScalarType type, std::vector<executorch::aten::SizesType> sizes) {
  return make_tensor(type, std::move(sizes), std::vector<uint8_t>(type == ScalarType::Int ? 4 : 8));
}
inline void set_integer(Held& held, int64_t value) { memcpy(held.bytes.data(), &value, held.bytes.size()); }

// The position of one token.
inline Held one_position(const Language& language) {
  if (language.positions == Positions::kScalar) return integer_tensor(language.position_type, {});
  return integer_tensor(language.position_type, {1});
}

// Integers as a tensor of the given sizes.
inline Held integers_tensor(ScalarType type, std::vector<executorch::aten::SizesType> sizes, const std::vector<int64_t>& values) {
  size_t width = type == ScalarType::Int ? 4 : 8;
  std::vector<uint8_t> bytes(values.size() * width);
  for (size_t i = 0; i < values.size(); i++) memcpy(bytes.data() + i * width, &values[i], width);
  return make_tensor(type, std::move(sizes), std::move(bytes));
}

// A row [1, n] of a tensor [rows, n].
inline Held row_of(const Tensor& rows, int64_t row) {
  auto width = rows.nbytes() / static_cast<size_t>(rows.size(0));
  const auto* from = static_cast<const uint8_t*>(rows.const_data_ptr()) + static_cast<size_t>(row) * width;
  return make_tensor(rows.scalar_type(), {1, static_cast<executorch::aten::SizesType>(rows.size(1))}, {from, from + width});
}

// The positions of `count` tokens of a new sequence.
inline Held first_positions(const Language& language, int64_t count) {
  if (language.positions != Positions::kEach) return one_position(language);
  std::vector<int64_t> positions;
  for (int64_t i = 0; i < count; i++) positions.push_back(i);
  return integers_tensor(language.position_type, {static_cast<executorch::aten::SizesType>(count)}, positions);
}

// Nothing for a method that follows none of the conventions.
inline std::optional<Language> language_of(const er::MethodMeta& meta, const Plan& plan, const Description& description) {
  auto cached = description.metadata.find("use_kv_cache");
  if (cached == description.metadata.end() || cached->second.dump() != "true" || !description.metadata.contains("get_vocab_size") ||
      meta.num_inputs() != 2)
    return std::nullopt;
  auto tokens = meta.input_tensor_meta(0), positions = meta.input_tensor_meta(1);
  if (!tokens.ok() || !positions.ok() || tokens->sizes().size() != 2 || positions->sizes().size() > 1) return std::nullopt;
  for (ScalarType type : {tokens->scalar_type(), positions->scalar_type()})
    if (type != ScalarType::Int && type != ScalarType::Long) return std::nullopt;
  int64_t most = tokens->sizes()[1];
  Positions given = Positions::kScalar;
  if (positions->sizes().size() == 1) {
    int64_t places = positions->sizes()[0];
    if (places != 1 && places != most) return std::nullopt;
    given = places == 1 ? Positions::kFirst : Positions::kEach;
  }
  return Language{tokens->scalar_type(), positions->scalar_type(), given, most, plan.is_dynamic(0)};
}

// Throws Failure where the model cannot be given `count` tokens at once.
inline void check_prompt(const Language& language, int64_t count) {
  if (count <= language.most_tokens && (language.dynamic || count == language.most_tokens)) return;
  std::string most = std::to_string(language.most_tokens), bound = language.dynamic ? "at most " : "exactly ";
  throw Failure("usage",
                "The model takes " + bound + most + (most == "1" ? " token" : " tokens") + " at once, the prompt has " +
                    std::to_string(count) + ".",
                "Give --prompt-tokens " + most + ".");
}

}  // namespace harness
