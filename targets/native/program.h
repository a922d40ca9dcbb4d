// A program of ExecuTorch, with the file of its weights where they lie outside of it.
#pragma once

#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <executorch/extension/data_loader/mmap_data_loader.h>
#include <executorch/extension/flat_tensor/flat_tensor_data_map.h>
#include <executorch/runtime/executor/program.h>

#include "failure.h"
#include "method.h"

namespace harness {

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

class Program {
 public:
  // `data` is the path of a .ptd, empty where there is none. Throws Failure for a file that is missing, cut short,
  // damaged, or of a version that this runtime cannot read.
  Program(const std::string& path, const std::string& data) : path_(path) {
    forget_complaints();
    loader_ = open(path);
    bytes_ = check_length();
    auto program = er::Program::load(loader_.get(), er::Program::Verification::InternalConsistency);
    if (!program.ok())
      throw Failure("model", "ExecuTorch refuses " + path + ": " + meaning(program.error()) + complaint() + ".",
                    "Copy it again if it came from elsewhere, else export it with ExecuTorch " EXECUTORCH_VERSION ".");
    program_ = std::make_unique<er::Program>(std::move(program.get()));
    if (!data.empty()) add(data);
  }

  const std::string& path() const { return path_; }
  int64_t bytes() const { return bytes_; }
  bool has_data() const { return data_ != nullptr; }
  bool has(const std::string& name) const { return program_->method_meta(name.c_str()).ok(); }
  er::MethodMeta meta(const std::string& name) const {
    auto meta = program_->method_meta(name.c_str());
    if (!meta.ok()) throw Failure("usage", path_ + " has no method '" + name + "'.", "It has " + listed(methods()) + ".");
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

  std::vector<std::string> runnable() const {
    std::vector<std::string> names;
    for (const std::string& name : methods())
      if (!is_constant(meta(name))) names.push_back(name);
    return names;
  }

  // The method to be run: the `wanted` one, or if that is empty `forward`, or the only one.
  std::string main_method(const std::string& wanted) const {
    auto names = runnable();
    if (names.empty())
      throw Failure("model", path_ + " has no method that can be run, only constants (" + listed(methods()) + ").",
                    "Export the model's own `forward` into it.");
    for (const std::string& name : names)
      if (name == (wanted.empty() ? "forward" : wanted)) return name;
    if (wanted.empty() && names.size() == 1) return names[0];
    throw Failure("usage",
                  path_ + (wanted.empty() ? " has several methods and no `forward`: "
                                          : " has no method '" + wanted + "' that can be run, only ") + listed(names) + ".",
                  "Say which one to run with --method NAME.");
  }

  std::unique_ptr<Method> load(const std::string& name, er::EventTracer* tracer = nullptr) const {
    return std::make_unique<Method>(*program_, path_, name, data_.get(), tracer);
  }

 private:
  static std::string listed(const std::vector<std::string>& names) {
    std::string all;
    for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
    return all.empty() ? "none" : all;
  }

  static std::unique_ptr<ee::MmapDataLoader> open(const std::string& path) {
    auto loader = ee::MmapDataLoader::from(path.c_str(), ee::MmapDataLoader::MlockConfig::UseMlockIgnoreErrors);
    if (!loader.ok()) throw Failure("model", path + " cannot be read.", "Check the path.");
    return std::make_unique<ee::MmapDataLoader>(std::move(loader.get()));
  }

  void add(const std::string& path) {
    data_loader_ = open(path);
    auto data = ee::FlatTensorDataMap::load(data_loader_.get());
    auto bytes = data_loader_->size();
    if (!data.ok() || !bytes.ok())
      throw Failure("model", path + " holds no weights that ExecuTorch can read" + complaint() + ".",
                    "Give the .ptd file that was written with the program (--data-file).");
    check_data(path, bytes.get());
    data_ = std::make_unique<ee::FlatTensorDataMap>(std::move(data.get()));
    bytes_ += static_cast<int64_t>(bytes.get());
  }

  // As `check_length` for the file of weights.
  void check_data(const std::string& path, size_t bytes) const {
    char head[ee::FlatTensorHeader::kNumHeadBytes] = {};
    std::ifstream(path, std::ios::binary).read(head, sizeof head);
    auto header = ee::FlatTensorHeader::Parse(head, sizeof head);
    if (!header.ok()) return;
    uint64_t expected = std::max(header->flatbuffer_offset + header->flatbuffer_size,
                                 header->segment_base_offset + header->segment_data_size);
    if (bytes < expected)
      throw Failure("model", path + " is cut short: " + std::to_string(bytes) + " bytes of " + std::to_string(expected) + ".",
                    "Copy it again.");
  }

  // The extended header says how long the file must be; the runtime would run a shorter one on what lies behind it.
  int64_t check_length() const {
    std::ifstream file(path_, std::ios::binary | std::ios::ate);
    int64_t bytes = file.tellg();
    char head[40] = {};
    file.seekg(0);
    file.read(head, sizeof head);
    if (bytes == 0) throw Failure("model", path_ + " is empty.", "Copy or export it again.");
    if (memcmp(head + 4, "ET12", 4) != 0)
      throw Failure("model", path_ + " is not an ExecuTorch program of this version (no ET12 identifier).",
                    "Give a .pte exported with ExecuTorch " EXECUTORCH_VERSION ".");
    if (memcmp(head + 8, "eh00", 4) != 0) return bytes;
    uint32_t length = 0;
    uint64_t program = 0, base = 0, segments = 0;
    memcpy(&length, head + 12, 4);
    memcpy(&program, head + 16, 8);
    memcpy(&base, head + 24, 8);
    if (length >= 32) memcpy(&segments, head + 32, 8);
    uint64_t expected = std::max(program, base + segments);
    if (static_cast<uint64_t>(bytes) < expected)
      throw Failure("model",
                    path_ + " is cut short: " + std::to_string(bytes) + " bytes of " + std::to_string(expected) + ".",
                    "Copy or export it again.");
    return bytes;
  }

  std::string path_;
  int64_t bytes_ = 0;  // of both files
  std::unique_ptr<ee::MmapDataLoader> loader_, data_loader_;
  std::unique_ptr<er::Program> program_;
  std::unique_ptr<ee::FlatTensorDataMap> data_;
};

}  // namespace harness
