// What a program says of itself, as the event `describe`.
#pragma once

#include <cmath>
#include <map>
#include <set>
#include <string>

#include "json.h"
#include "needs.h"
#include "plan.h"
#include "program.h"
#include "tensors.h"

namespace harness {

// JSON has no infinities.
inline Json number_json(double value) {
  if (std::isfinite(value)) return value;
  return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
}

inline const char* kind_name(const er::Result<er::Tag>& tag) {
  if (!tag.ok()) return "list";
  switch (tag.get()) {
    case er::Tag::None: return "none";
    case er::Tag::Tensor: return "tensor";
    case er::Tag::String: return "str";
    case er::Tag::Int: return "int";
    case er::Tag::Double: return "float";
    case er::Tag::Bool: return "bool";
    default: return "list";
  }
}

// An input or an output; `value` is that of an input that is no tensor, with which the program was exported.
inline Json interface_json(const er::Result<er::Tag>& tag, const er::Result<er::TensorInfo>& info, const Json& value) {
  std::string kind = kind_name(tag);
  if (kind == "tensor" && info.ok()) {
    Json::Integers sizes(info->sizes().begin(), info->sizes().end());
    return Json::Object{{"kind", kind}, {"dtype", dtype_name(info->scalar_type())}, {"sizes", sizes}};
  }
  Json::Object interface{{"kind", kind}, {"dtype", "none"}, {"sizes", Json::Array{}}};
  if (!value.is_null()) interface.emplace_back("value", value.is_real() ? number_json(value.number()) : value);
  return interface;
}

inline Json method_json(const Program& program, const er::MethodMeta& meta) {
  Json::Array inputs, outputs, needed;
  int64_t planned = 0;
  Plan plan = read_plan(program.path(), meta.name());
  for (size_t i = 0; i < meta.num_inputs(); i++)
    inputs.push_back(interface_json(meta.input_tag(i), meta.input_tensor_meta(i), plan.value(i)));
  for (size_t i = 0; i < meta.num_outputs(); i++)
    outputs.push_back(interface_json(meta.output_tag(i), meta.output_tensor_meta(i), nullptr));
  for (const std::string& name : delegates(meta)) needed.push_back(name);
  for (size_t i = 0; i < meta.num_memory_planned_buffers(); i++) planned += meta.memory_planned_buffer_size(i).get();
  return Json::Object{{"name", meta.name()}, {"planned_bytes", planned}, {"delegates", needed}, {"inputs", inputs},
                      {"outputs", outputs}};
}

inline constexpr ssize_t kMostShown = 64;

// The numbers of a tensor as nested lists, from `dimension` on; `at` counts them.
inline Json nested(const Tensor& tensor, ssize_t dimension, size_t& at) {
  if (dimension == tensor.dim()) {
    size_t index = at++;
    switch (tensor.scalar_type()) {
      case ScalarType::Bool: return tensor.const_data_ptr<bool>()[index];
      case ScalarType::Long: return tensor.const_data_ptr<int64_t>()[index];
      case ScalarType::UInt64: return static_cast<int64_t>(tensor.const_data_ptr<uint64_t>()[index]);
      case ScalarType::Half:
      case ScalarType::BFloat16:
      case ScalarType::Float:
      case ScalarType::Double: return number_json(float_at(tensor, index));
      default: return static_cast<int64_t>(float_at(tensor, index));
    }
  }
  Json::Array items;
  for (ssize_t i = 0; i < tensor.size(dimension); i++) items.push_back(nested(tensor, dimension + 1, at));
  return items;
}

// A constant tensor as its numbers where they are few, else what it is: `float32 [3, 224, 224]`.
inline Json constant_tensor(const Tensor& tensor) {
  size_t at = 0;
  if (tensor.numel() <= kMostShown) return nested(tensor, 0, at);
  std::string sizes;
  for (auto size : tensor.sizes()) sizes += (sizes.empty() ? "" : ", ") + std::to_string(size);
  return dtype_name(tensor.scalar_type()) + " [" + sizes + "]";
}

// The values that a constant method returns: one, or a list.
inline Json constant_json(const Program& program, const std::string& name) {
  auto method = program.load(name);
  method->execute({});
  Json::Array values;
  for (size_t i = 0; i < method->outputs(); i++) {
    const er::EValue& value = method->output(i);
    if (value.isInt()) values.push_back(value.toInt());
    else if (value.isBool()) values.push_back(value.toBool());
    else if (value.isDouble()) values.push_back(number_json(value.toDouble()));
    else if (value.isTensor()) values.push_back(constant_tensor(value.toTensor()));
    else if (value.isString()) values.push_back(std::string(value.toString().begin(), value.toString().end()));
    else values.push_back(nullptr);
  }
  return values.size() == 1 ? values[0] : Json(values);
}

struct Description {
  Json::Object event;
  std::map<std::string, Json> metadata;

  int64_t integer(const std::string& name) const {
    auto entry = metadata.find(name);
    if (entry == metadata.end() || !entry->second.is_integer())
      throw Failure("model", "The model does not say its " + name + ", which a loss on text needs.",
                    "Export it with that constant method, as ExecuTorch's exporter of language models does, or leave quality out (--no-quality).");
    return entry->second.integer();
  }
};

inline Description describe(const Program& program) {
  Description description;
  Json::Array methods, needed;
  std::set<std::string> names;
  Json::Object metadata;
  for (const std::string& name : program.methods()) {
    auto meta = program.meta(name);
    if (Program::is_constant(meta)) {
      Json value = constant_json(program, name);
      metadata.emplace_back(name, value);
      description.metadata.emplace(name, value);
    } else {
      methods.push_back(method_json(program, meta));
      names.merge(delegates(meta));
    }
  }
  for (const std::string& name : names) needed.push_back(name);
  description.event = {{"format", "pte"}, {"methods", methods}, {"metadata", metadata}, {"delegates", needed}};
  return description;
}

}  // namespace harness
