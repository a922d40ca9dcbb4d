// A program of ExecuTorch: what it says of itself, and its methods ready to run.
#pragma once

#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <executorch/extension/data_loader/mmap_data_loader.h>
#include <executorch/extension/memory_allocator/malloc_memory_allocator.h>
#include <executorch/runtime/backend/interface.h>
#include <executorch/runtime/core/event_tracer.h>
#include <executorch/runtime/executor/method.h>
#include <executorch/runtime/executor/program.h>

#include "failure.h"
#include "json.h"
#include "tensors.h"

namespace harness {

namespace er = executorch::runtime;
namespace ee = executorch::extension;

// The wheel ships the thread pool's library but not its header: only what is called here is declared.
}  // namespace harness
namespace executorch::extension::threadpool {
class ThreadPool final {
 public:
  bool _unsafe_reset_threadpool(uint32_t threads);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool
namespace harness {

// Before any method is loaded: resetting the pool of a loaded delegate corrupts the heap.
inline void use_threads(int64_t threads) {
  auto* pool = ee::threadpool::get_threadpool();
  if (pool == nullptr || !pool->_unsafe_reset_threadpool(static_cast<uint32_t>(threads)))
    throw Failure("runtime", "ExecuTorch has no thread pool here.", "Can the worker read /proc/cpuinfo?");
}

class Method {
 public:
  Method(const er::Program& program, const std::string& path, const std::string& name, er::EventTracer* tracer) {
    auto meta = program.method_meta(name.c_str());
    if (!meta.ok()) throw refused(path, name, meta.error());
    for (size_t i = 0; i < meta->num_memory_planned_buffers(); i++) {
      auto size = static_cast<size_t>(meta->memory_planned_buffer_size(i).get());
      planned_bytes_ += size;
      arenas_.push_back(std::make_unique<uint8_t[]>(size));
      spans_.push_back({arenas_.back().get(), size});
    }
    planned_ = std::make_unique<er::HierarchicalAllocator>(
        er::Span<er::Span<uint8_t>>(spans_.data(), spans_.size()));
    manager_ = std::make_unique<er::MemoryManager>(&method_memory_, planned_.get(), &temporary_memory_);
    auto loaded = program.load_method(name.c_str(), manager_.get(), tracer);
    if (!loaded.ok()) throw refused(path, name, loaded.error());
    method_ = std::make_unique<er::Method>(std::move(loaded.get()));
  }

  // Inputs are set before every run: the planned arena may use their storage again for later values.
  void execute(const std::vector<er::EValue>& inputs) {
    er::Error error = method_->set_inputs({inputs.data(), inputs.size()});
    if (error == er::Error::Ok) error = method_->execute();
    if (error != er::Error::Ok)
      throw Failure("runtime", std::string("The model failed to run: ") + er::to_string(error) + ".",
                    "`harness report` shows what the runtime printed.");
  }

  size_t outputs() const { return method_->outputs_size(); }
  const er::EValue& output(size_t index) const { return method_->get_output(index); }
  int64_t planned_bytes() const { return static_cast<int64_t>(planned_bytes_); }

 private:
  static Failure refused(const std::string& path, const std::string& name, er::Error error) {
    return Failure("model", "ExecuTorch cannot load method '" + name + "' of " + path + ": " + er::to_string(error) + ".",
                   "Its standard error names the operator or the delegate; export it again for this version.");
  }
  size_t planned_bytes_ = 0;
  std::vector<std::unique_ptr<uint8_t[]>> arenas_;
  std::vector<er::Span<uint8_t>> spans_;
  ee::MallocMemoryAllocator method_memory_, temporary_memory_;
  std::unique_ptr<er::HierarchicalAllocator> planned_;
  std::unique_ptr<er::MemoryManager> manager_;
  std::unique_ptr<er::Method> method_;
};

class Program {
 public:
  // Throws Failure for a file that is missing, cut short, damaged, or of a version that this runtime cannot read.
  explicit Program(const std::string& path) : path_(path) {
    auto loader = ee::MmapDataLoader::from(path.c_str(), ee::MmapDataLoader::MlockConfig::UseMlockIgnoreErrors);
    if (!loader.ok())
      throw Failure("model", path + " cannot be read.", "Check the path.");
    check_length();
    loader_ = std::make_unique<ee::MmapDataLoader>(std::move(loader.get()));
    auto program = er::Program::load(loader_.get(), er::Program::Verification::InternalConsistency);
    if (!program.ok())
      throw Failure("model", "ExecuTorch refuses " + path + ": " + er::to_string(program.error()) + ".",
                    "Export it again with this version of ExecuTorch.");
    program_ = std::make_unique<er::Program>(std::move(program.get()));
  }

  const std::string& path() const { return path_; }
  int64_t bytes() const { return bytes_; }
  bool has(const std::string& name) const { return program_->method_meta(name.c_str()).ok(); }
  er::MethodMeta meta(const std::string& name) const {
    auto meta = program_->method_meta(name.c_str());
    if (!meta.ok()) throw Failure("model", path_ + " has no method '" + name + "'.", "Export it again.");
    return meta.get();
  }

  std::vector<std::string> methods() const {
    std::vector<std::string> names;
    for (size_t i = 0; i < program_->num_methods(); i++) names.emplace_back(program_->get_method_name(i).get());
    return names;
  }

  // A method that gives a value and takes none: metadata.
  static bool is_constant(const er::MethodMeta& meta) {
    return meta.num_inputs() == 0 && meta.num_instructions() == 0 && meta.num_backends() == 0;
  }

  // `forward`, or the only method that runs.
  std::string main_method() const {
    std::vector<std::string> runnable;
    std::string all;
    for (const std::string& name : methods()) {
      if (name == "forward") return name;
      if (!is_constant(meta(name))) runnable.push_back(name);
      all += (all.empty() ? "" : ", ") + name;
    }
    if (runnable.size() == 1) return runnable[0];
    throw Failure("usage", path_ + " has no method `forward` (it has " + (all.empty() ? "none" : all) + ").",
                  "Export the method to be measured as `forward`.");
  }

  std::unique_ptr<Method> load(const std::string& name, er::EventTracer* tracer = nullptr) const {
    return std::make_unique<Method>(*program_, path_, name, tracer);
  }

  std::set<std::string> delegates() const {
    std::set<std::string> names;
    for (const std::string& method : methods()) {
      auto known = meta(method);
      for (size_t i = 0; i < known.num_backends(); i++) names.insert(known.get_backend_name(i).get());
    }
    return names;
  }

  // Throws Failure naming the delegates that this runtime lacks.
  void check_delegates() const {
    std::string missing, here;
    for (const std::string& name : delegates())
      if (er::get_backend_class(name.c_str()) == nullptr) missing += (missing.empty() ? "" : ", ") + name;
    for (size_t i = 0; i < er::get_num_registered_backends(); i++)
      here += (here.empty() ? "" : ", ") + std::string(er::get_backend_name(i).get());
    if (!missing.empty())
      throw Failure("model",
                    path_ + " needs the delegate " + missing + ", which this build of ExecuTorch lacks (it has " + here +
                        ").",
                    "Run it on a target that has the delegate, or export it for XNNPACK.");
  }

 private:
  // The extended header says how long the file must be; the runtime would run a shorter one on what lies behind it.
  void check_length() {
    std::ifstream file(path_, std::ios::binary | std::ios::ate);
    bytes_ = file.tellg();
    char head[40] = {};
    file.seekg(0);
    file.read(head, sizeof head);
    if (bytes_ == 0) throw Failure("model", path_ + " is empty.", "Copy or export it again.");
    if (memcmp(head + 4, "ET12", 4) != 0)
      throw Failure("model", path_ + " is not an ExecuTorch program of this version (no ET12 identifier).",
                    "Give a .pte exported with this version of ExecuTorch.");
    if (memcmp(head + 8, "eh00", 4) != 0) return;
    uint32_t length = 0;
    uint64_t program = 0, base = 0, segments = 0;
    memcpy(&length, head + 12, 4);
    memcpy(&program, head + 16, 8);
    memcpy(&base, head + 24, 8);
    if (length >= 32) memcpy(&segments, head + 32, 8);
    uint64_t expected = std::max(program, base + segments);
    if (static_cast<uint64_t>(bytes_) < expected)
      throw Failure("model",
                    path_ + " is cut short: " + std::to_string(bytes_) + " bytes of " + std::to_string(expected) + ".",
                    "Copy or export it again.");
  }

  std::string path_;
  int64_t bytes_ = 0;
  std::unique_ptr<ee::MmapDataLoader> loader_;
  std::unique_ptr<er::Program> program_;
};

}  // namespace harness
