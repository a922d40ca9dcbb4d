// What a method needs to run, looked at before it is loaded, so that a refusal names it: the runtime gives a number.
#pragma once

#include <set>
#include <string>

#include <executorch/runtime/backend/interface.h>
#include <executorch/runtime/kernel/operator_registry.h>

#include "plan.h"
#include "program.h"

namespace harness {

inline std::string joined(const std::set<std::string>& names) {
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  return all;
}

inline std::set<std::string> delegates(const er::MethodMeta& meta) {
  std::set<std::string> names;  // a delegate is named once a partition
  for (size_t i = 0; i < meta.num_backends(); i++) names.insert(meta.get_backend_name(i).get());
  return names;
}

inline void check_delegates(const Program& program, const std::string& method) {
  std::set<std::string> missing, here;
  for (size_t i = 0; i < er::get_num_registered_backends(); i++) here.insert(er::get_backend_name(i).get());
  for (const std::string& name : delegates(program.meta(method)))
    if (!here.contains(name)) missing.insert(name);
  if (!missing.empty())
    throw Failure("model",
                  program.path() + " needs the delegate " + joined(missing) + ", which this build of ExecuTorch lacks (it has " +
                      joined(here) + ").",
                  "Run it on a target that has the delegate, or export it for XNNPACK.");
}

inline void check_operators(const Program& program, const Plan& plan) {
  std::set<std::string> here, missing;
  for (const auto& kernel : er::get_registered_kernels()) here.insert(kernel.name_);
  bool language = true;
  for (const std::string& name : plan.operators)
    if (!here.contains(name)) {
      missing.insert(name);
      language = language && name.rfind("llama::", 0) == 0;
    }
  if (missing.empty()) return;
  throw Failure("model",
                program.path() + " needs the operator" + (missing.size() > 1 ? "s " : " ") + joined(missing) +
                    ", which the C++ libraries of ExecuTorch's wheel lack.",
                language ? "Run it on x86 with `--runtime python`, or export it without `use_sdpa_with_kv_cache`."
                         : "Replace it in the model by operators that ExecuTorch has kernels for, and export it again.");
}

// Throws Failure naming what the method needs and this runtime has not.
inline void check_needs(const Program& program, const std::string& method, const Plan& plan) {
  check_delegates(program, method);
  check_operators(program, plan);
  if (plan.external && !program.has_data())
    throw Failure("model", "The weights of " + program.path() + " are not in it but in a .ptd file.",
                  "Give that file with --data-file.");
}

}  // namespace harness
