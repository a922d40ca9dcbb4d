// What a program says of itself, as the event `describe`.
#pragma once

#include <map>
#include <set>
#include <string>

#include "json.h"
#include "program.h"

namespace harness {

inline Json tensor_json(const er::Result<er::TensorInfo>& info) {
  if (!info.ok()) return Json::Object{{"dtype", "none"}, {"sizes", Json::Array{}}};  // an int or a bool
  Json::Integers sizes(info->sizes().begin(), info->sizes().end());
  return Json::Object{{"dtype", dtype_name(info->scalar_type())}, {"sizes", sizes}};
}

inline Json method_json(const er::MethodMeta& meta) {
  Json::Array inputs, outputs, delegates;
  int64_t planned = 0;
  for (size_t i = 0; i < meta.num_inputs(); i++) inputs.push_back(tensor_json(meta.input_tensor_meta(i)));
  for (size_t i = 0; i < meta.num_outputs(); i++) outputs.push_back(tensor_json(meta.output_tensor_meta(i)));
  std::set<std::string> names;  // a delegate is named once a partition
  for (size_t i = 0; i < meta.num_backends(); i++) names.insert(meta.get_backend_name(i).get());
  for (const std::string& name : names) delegates.push_back(name);
  for (size_t i = 0; i < meta.num_memory_planned_buffers(); i++) planned += meta.memory_planned_buffer_size(i).get();
  return Json::Object{{"name", meta.name()}, {"planned_bytes", planned}, {"delegates", delegates}, {"inputs", inputs},
                      {"outputs", outputs}};
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
    else if (value.isDouble()) values.push_back(value.toDouble());
    else if (value.isString()) values.push_back(std::string(value.toString().begin(), value.toString().end()));
    else values.push_back(nullptr);
  }
  return values.size() == 1 ? values[0] : Json(values);
}

struct Description {
  Json::Object event;
  std::map<std::string, Json> metadata;

  int64_t integer(const std::string& name) const {
    auto found = metadata.find(name);
    if (found == metadata.end())
      throw Failure("model", "The model does not say its " + name + ".", "Export it by ExecuTorch's LLM convention.");
    return found->second.integer();
  }
};

inline Description describe(const Program& program) {
  Description found;
  Json::Array methods, delegates;
  Json::Object metadata;
  for (const std::string& name : program.methods()) {
    auto meta = program.meta(name);
    if (Program::is_constant(meta)) {
      Json value = constant_json(program, name);
      metadata.emplace_back(name, value);
      found.metadata.emplace(name, value);
    } else {
      methods.push_back(method_json(meta));
    }
  }
  for (const std::string& name : program.delegates()) delegates.push_back(name);
  found.event = {{"format", "pte"}, {"methods", methods}, {"metadata", metadata}, {"delegates", delegates}};
  return found;
}

}  // namespace harness
