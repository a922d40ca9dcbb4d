// What one query gives to a method: a value for each of its inputs, of the kind that it takes.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "describe.h"
#include "plan.h"
#include "program.h"
#include "tensors.h"

namespace harness {

using Inputs = std::vector<std::pair<std::string, Held>>;

// An input by its name; null where there is none.
inline const Held* find(const Inputs& inputs, const std::string& wanted) {
  for (const auto& [name, held] : inputs)
    if (name == wanted) return &held;
  return nullptr;
}

inline std::string shape_text(const Tensor& tensor) {
  std::string sizes;
  for (auto size : tensor.sizes()) sizes += (sizes.empty() ? "" : ", ") + std::to_string(size);
  return dtype_name(tensor.scalar_type()) + " [" + sizes + "]";
}

inline std::string shape_text(const er::TensorInfo& info) {
  std::string sizes;
  for (auto size : info.sizes()) sizes += (sizes.empty() ? "" : ", ") + std::to_string(size);
  return dtype_name(info.scalar_type()) + " [" + sizes + "]";
}

// Throws Failure where a tensor is not what the method declares: the runtime's own word for it is a number.
inline void check_tensor(const std::string& input, const Tensor& given, const er::TensorInfo& declared, bool dynamic) {
  bool fits = given.scalar_type() == declared.scalar_type() && static_cast<size_t>(given.dim()) == declared.sizes().size();
  for (size_t i = 0; fits && i < declared.sizes().size(); i++) {
    int64_t size = given.size(static_cast<ssize_t>(i)), most = declared.sizes()[i];
    fits = dynamic ? size <= most : size == most;
  }
  if (!fits)
    throw Failure("usage",
                  input + " is " + shape_text(given) + ", the model takes " + shape_text(declared) +
                      (dynamic ? " at most." : "."),
                  "Give an array of that dtype and those sizes with --inputs.");
}

// A number as the input of its kind. ExecuTorch takes only the one with which the program was exported.
inline er::EValue number_argument(const std::string& input, er::Tag tag, const Held* held, const Json& exported) {
  Json given = exported;
  if (held != nullptr) {
    const Tensor& tensor = *held->tensor;
    if (tensor.numel() != 1) throw Failure("usage", input + " is a number, it was given " + shape_text(tensor) + ".", "Give it one number.");
    size_t at = 0;
    given = nested(tensor, tensor.dim(), at);
    if (tag == er::Tag::Double && given.is_integer()) given = given.number();
  }
  if (given.is_null()) throw Failure("usage", input + " of the model is missing.", "Give it with --inputs.");
  if (given.dump() != exported.dump() && !exported.is_null())
    throw Failure("usage",
                  input + " is " + given.dump() + ", but the program was exported for " + exported.dump() +
                      " and ExecuTorch runs it with nothing else.",
                  "Give " + exported.dump() + ", or export the model with a tensor in its place.");
  if (tag == er::Tag::Int) return er::EValue(given.integer());
  if (tag == er::Tag::Bool) return er::EValue(given.dump() == "true");
  return er::EValue(given.number());
}

// The arguments of the query number `set`: set0_arg0, set0_arg1, ... Throws Failure naming the input that does not fit.
inline std::vector<er::EValue> arguments(const er::MethodMeta& meta, const Plan& plan, const Inputs& inputs, size_t set) {
  std::vector<er::EValue> arguments;
  for (size_t i = 0; i < meta.num_inputs(); i++) {
    std::string input = "Input " + std::to_string(i), kind = kind_name(meta.input_tag(i));
    const Held* held = find(inputs, "set" + std::to_string(set) + "_arg" + std::to_string(i));
    if (kind == "none") {
      if (held != nullptr)
        throw Failure("usage", input + " was None when the program was exported, so that it takes nothing else.",
                      "Leave it out, or export the model with a tensor in its place.");
      arguments.emplace_back();
    } else if (kind == "tensor") {
      if (held == nullptr) throw Failure("usage", input + " of the model is missing.", "Give it with --inputs.");
      check_tensor(input, *held->tensor, meta.input_tensor_meta(i).get(), plan.is_dynamic(i));
      arguments.emplace_back(*held->tensor);
    } else if (kind == "str" || kind == "list") {
      throw Failure("usage", input + " of the model is a " + (kind == "str" ? "text" : "list") + ", which harness cannot give.",
                    "Export the model with tensors or numbers in its place.");
    } else {
      arguments.push_back(number_argument(input, meta.input_tag(i).get(), held, plan.value(i)));
    }
  }
  return arguments;
}

// How many sets of inputs there are.
inline size_t count_sets(const Inputs& inputs) {
  size_t most = 0;
  for (const auto& [name, held] : inputs)
    if (name.rfind("set", 0) == 0) most = std::max(most, static_cast<size_t>(strtoul(name.c_str() + 3, nullptr, 10)) + 1);
  return most;
}

}  // namespace harness
