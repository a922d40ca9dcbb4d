// The plan of a method, from the program's own tables: operators, exported values of scalar inputs, dynamic sizes, and
// whether weights lie in another file.
#pragma once

#include <fcntl.h>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include "flatbuffer.h"
#include "json.h"

namespace harness {

struct Plan {
  std::vector<std::string> operators;  // as they are registered: `aten::add.out`
  std::vector<Json> values;            // of each input that is an int, a float or a bool; null else
  std::vector<bool> dynamic;           // of each input: whether its sizes may be smaller than those declared
  bool external = false;               // some tensor's data lies outside of the program

  Json value(size_t input) const { return input < values.size() ? values[input] : Json(); }
  bool is_dynamic(size_t input) const { return input < dynamic.size() && dynamic[input]; }
};

inline Plan plan_in(std::string_view data, const std::string& path, const std::string& method) {
  constexpr int kPlans = 1, kName = 0, kValues = 2, kInputs = 3, kOperators = 6;  // of Program and ExecutionPlan
  constexpr int kKind = 0, kValue = 1;                                           // of EValue, a union
  constexpr uint8_t kInt = 2, kBool = 3, kDouble = 4, kTensor = 5;               // its kinds
  constexpr int kDynamism = 8, kExtra = 9, kLocation = 2;                        // of Tensor and ExtraTensorInfo
  Plan plan;
  for (const Table& table : Table::root(data, path).tables(kPlans)) {
    if (table.text(kName) != method) continue;
    for (const Table& operation : table.tables(kOperators)) {
      std::string overload = operation.text(1);
      plan.operators.push_back(operation.text(0) + (overload.empty() ? "" : "." + overload));
    }
    auto values = table.tables(kValues);
    for (const Table& value : values) {
      if (value.scalar<uint8_t>(kKind, 0) != kTensor) continue;
      auto tensor = value.table(kValue);
      auto extra = tensor ? tensor->table(kExtra) : std::nullopt;
      plan.external = plan.external || (extra && extra->scalar<int8_t>(kLocation, 0) == 1);
    }
    for (int32_t index : table.integers(kInputs)) {
      Json number;
      bool dynamic = false;
      if (index >= 0 && static_cast<size_t>(index) < values.size()) {
        auto value = values[static_cast<size_t>(index)].table(kValue);
        uint8_t kind = values[static_cast<size_t>(index)].scalar<uint8_t>(kKind, 0);
        if (value && kind == kInt) number = value->scalar<int64_t>(0, 0);
        if (value && kind == kBool) number = value->scalar<uint8_t>(0, 0) != 0;
        if (value && kind == kDouble) number = value->scalar<double>(0, 0.0);
        dynamic = value && kind == kTensor && value->scalar<int8_t>(kDynamism, 0) != 0;
      }
      plan.values.push_back(number);
      plan.dynamic.push_back(dynamic);
    }
  }
  return plan;
}

// The plan of a method of the program at `path`. Only the pages that hold it are read. Throws Failure for a file that
// cannot be read or whose tables lead out of it.
inline Plan read_plan(const std::string& path, const std::string& method) {
  int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat known {};
  bool readable = descriptor >= 0 && fstat(descriptor, &known) == 0;
  auto bytes = static_cast<size_t>(known.st_size);
  void* map = readable ? mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, descriptor, 0) : MAP_FAILED;
  if (descriptor >= 0) close(descriptor);
  if (map == MAP_FAILED) throw Failure("model", path + " cannot be read.", "Check the path.");
  std::unique_ptr<void, std::function<void(void*)>> held(map, [bytes](void* mapped) { munmap(mapped, bytes); });
  return plan_in({static_cast<const char*>(map), bytes}, path, method);
}

}  // namespace harness
