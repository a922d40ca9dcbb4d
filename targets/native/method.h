// A method of a program, ready to run.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <executorch/extension/memory_allocator/malloc_memory_allocator.h>
#include <executorch/runtime/core/event_tracer.h>
#include <executorch/runtime/core/named_data_map.h>
#include <executorch/runtime/executor/method.h>
#include <executorch/runtime/executor/program.h>

#include "failure.h"
#include "log.h"

namespace harness {

namespace er = executorch::runtime;
namespace ee = executorch::extension;

// Stands for a .ptd where none was given: delegates look into the map that they get, even into none at all.
class NoData final : public er::NamedDataMap {
 public:
  er::Result<const er::TensorLayout> get_tensor_layout(std::string_view) const override { return er::Error::NotFound; }
  er::Result<er::FreeableBuffer> get_data(std::string_view) const override { return er::Error::NotFound; }
  er::Error load_data_into(std::string_view, void*, size_t) const override { return er::Error::NotFound; }
  er::Result<uint32_t> get_num_keys() const override { return uint32_t{0}; }
  er::Result<const char*> get_key(uint32_t) const override { return er::Error::NotFound; }
};

class Method {
 public:
  // `data` has the weights that lie outside of the program; null where there are none.
  Method(const er::Program& program, const std::string& path, const std::string& name, const er::NamedDataMap* data,
         er::EventTracer* tracer) {
    forget_complaints();
    auto meta = program.method_meta(name.c_str());
    if (!meta.ok()) throw refused(path, name, meta.error(), data);
    for (size_t i = 0; i < meta->num_memory_planned_buffers(); i++) {
      auto size = static_cast<size_t>(meta->memory_planned_buffer_size(i).get());
      planned_bytes_ += size;
      arenas_.push_back(std::make_unique<uint8_t[]>(size));
      spans_.push_back({arenas_.back().get(), size});
    }
    planned_ = std::make_unique<er::HierarchicalAllocator>(
        er::Span<er::Span<uint8_t>>(spans_.data(), spans_.size()));
    manager_ = std::make_unique<er::MemoryManager>(&method_memory_, planned_.get(), &temporary_memory_);
    const er::NamedDataMap* given = data;
    if (given == nullptr && !program.get_named_data_map().ok()) given = &no_data_;
    auto loaded = program.load_method(name.c_str(), manager_.get(), tracer, given);
    if (!loaded.ok()) throw refused(path, name, loaded.error(), data);
    method_ = std::make_unique<er::Method>(std::move(loaded.get()));
    forget_complaints();
  }

  // Inputs are set before every run: the planned arena may use their storage again for later values.
  void execute(const std::vector<er::EValue>& inputs) {
    er::Error error = method_->set_inputs({inputs.data(), inputs.size()});
    if (error == er::Error::Ok) error = method_->execute();
    if (error != er::Error::Ok)
      throw Failure(error == er::Error::MemoryAllocationFailed ? "memory" : "runtime",
                    "The model failed to run: " + meaning(error) + complaint() + ".",
                    first_complaint().rfind("Unhandled dtype", 0) == 0
                        ? "Export the model with a dtype there that the operator's kernel has, such as float32 or int32."
                        : advice);
  }

  size_t outputs() const { return method_->outputs_size(); }
  const er::EValue& output(size_t index) const { return method_->get_output(index); }
  // What a language model answers. Throws Failure where that is no tensor.
  executorch::aten::Tensor logits() const {
    if (outputs() > 0 && output(0).isTensor() && output(0).toTensor().dim() > 0) return output(0).toTensor();
    throw Failure("model", "The first output of the model is no tensor of logits, as that of a language model is.",
                  "Run it with --scenario single-stream and without quality (--no-quality), or let it return its logits first.");
  }
  int64_t planned_bytes() const { return static_cast<int64_t>(planned_bytes_); }

  std::string advice = "`harness report` shows what the runtime printed.";  // what to do where it fails to run

 private:
  static Failure refused(const std::string& path, const std::string& name, er::Error error, const er::NamedDataMap* data) {
    std::string what = "ExecuTorch cannot load method '" + name + "' of " + path + ": " + meaning(error) + complaint() + ".";
    switch (error) {
      case er::Error::NotFound:
      case er::Error::InvalidExternalData:
        return Failure("model", what, data ? "Give the .ptd file that was written with this program (--data-file)."
                                           : "If its weights are in a .ptd file, give it with --data-file.");
      case er::Error::MemoryAllocationFailed:
      case er::Error::DelegateMemoryAllocationFailed:
        return Failure("memory", what, "Free memory, or take a smaller model.");
      case er::Error::DelegateInvalidCompatibility:
        return Failure("model", what, "Export it again with ExecuTorch " EXECUTORCH_VERSION ".");
      case er::Error::InvalidProgram:
        return Failure("model", what, "Copy it again if it came from elsewhere, else export it again.");
      default: return Failure("model", what, "`harness report` shows what the runtime printed.");
    }
  }
  NoData no_data_;
  size_t planned_bytes_ = 0;
  std::vector<std::unique_ptr<uint8_t[]>> arenas_;
  std::vector<er::Span<uint8_t>> spans_;
  ee::MallocMemoryAllocator method_memory_, temporary_memory_;
  std::unique_ptr<er::HierarchicalAllocator> planned_;
  std::unique_ptr<er::MemoryManager> manager_;
  std::unique_ptr<er::Method> method_;
};

}  // namespace harness
