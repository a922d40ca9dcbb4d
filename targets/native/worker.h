// One job: the passes of harness/worker/__main__.py, on this runtime.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <sched.h>
#include <string>
#include <sys/prctl.h>
#include <utility>
#include <vector>

#include <executorch/devtools/etdump/etdump_flatcc.h>

#include "arguments.h"
#include "channel.h"
#include "counter.h"
#include "counting.h"
#include "describe.h"
#include "flash.h"
#include "language.h"
#include "needs.h"
#include "probes.h"
#include "quality.h"
#include "scenarios.h"

namespace harness {

inline constexpr int kMemoryIterations = 10;
inline constexpr int kProfileIterations = 10;
inline constexpr size_t kOutputSets = 8;  // of a method without inputs: as many as harness makes for others

class Worker {
 public:
  Worker(Channel& channel, const Json& request)
      : channel_(channel), job_(request["job"]), files_(request["files"]), measure_(job_["measure"].text()),
        scenario_(job_["scenario"].text()) {}

  void work() {
    if (!job_["cpus"].is_null()) pin();
    channel_.emit("hello", {{"protocol", 1},
                            {"worker", "native " HARNESS_VERSION},
                            {"versions", Json::Object{{"executorch", EXECUTORCH_VERSION}}},
                            {"device", Json::Object{{"cpus", allowed_cpus()}}}});
    if (measure_ == "describe") {
      channel_.emit("describe", describe(Program(path(), data())).event);
    } else if (scenario_ == "flash") {
      repeat_reads(channel_, job_, files_, counter_.counts());
    } else if (measure_ == "memory") {
      measure_memory();
    } else {
      look();
      if (scenario_ == "cold-start")
        for (const std::string& file : {path(), data()}) drop_page_cache(file);
      IoProbe probe;
      load();
      probe.report(channel_, "load", program_->bytes());
      if (measure_ == "quality") measure_quality();
      else if (measure_ == "profile") measure_operators();
      else measure_latency();
    }
  }

 private:
  std::string path() const { return files_["model"].text(); }
  std::string data() const { return files_["data"].text_or(""); }

  void pin() {
    cpu_set_t set;
    CPU_ZERO(&set);
    std::string names;
    for (const Json& cpu : job_["cpus"].array()) {
      if (cpu.integer() >= 0 && cpu.integer() < CPU_SETSIZE) CPU_SET(static_cast<size_t>(cpu.integer()), &set);
      names += (names.empty() ? "" : ", ") + cpu.dump();
    }
    Json before(allowed_cpus());
    // The kernel takes a set of which some are there.
    if (sched_setaffinity(0, sizeof set, &set) != 0 || allowed_cpus().size() != job_["cpus"].array().size())
      throw Failure("usage", "Processors " + names + " cannot be used here, only " + before.dump() + ".",
                    "Give some of these with --cpus.");
  }

  // What must be known before loading, and is not charged to it.
  void look() {
    Program program(path(), data());
    main_ = program.main_method(job_["method"].text_or(""));
    plan_ = read_plan(path(), main_);
    check_needs(program, main_, plan_);
    use_threads(job_["threads"].integer());
  }

  void load() {
    if (measure_ == "profile") tracer_ = std::make_unique<executorch::etdump::ETDumpGen>();
    counter_.begin();
    int64_t start = now_ns();
    program_ = std::make_unique<Program>(path(), data());
    int64_t opened = now_ns();
    method_ = program_->load(main_, tracer_.get());
    int64_t ready = now_ns();
    counter_.end();
    bool clock = !counter_.counts();
    channel_.emit("loaded", {{"program_ns", clock ? Json(opened - start) : Json()},
                             {"method_ns", clock ? Json(ready - opened) : Json()},
                             {"program_bytes", program_->bytes()},
                             {"planned_bytes", method_->planned_bytes()}});
    loading_.start_ns = {start};
    loading_.counted = {0};
    description_ = describe(*program_);
    language_ = language_of(program_->meta(main_), plan_, description_);
    if (job_["inputs_sha256"].is_null() && !language_)
      method_->advice = "Its inputs were made by harness (random numbers of seed " + job_["seed"].dump() +
                        "): give real ones with --inputs.";
  }

  void read_inputs() {
    if (inputs_.empty() && !files_["inputs"].is_null()) inputs_ = read_tensors(files_["inputs"].text());
  }

  std::unique_ptr<ModelQuery> query() {
    read_inputs();
    const char* phase = scenario_ == "offline" ? "batch" : "steady";
    std::unique_ptr<ModelQuery> made;
    const Held* prompt = find(inputs_, "prompts");
    if (language_ && prompt != nullptr) check_prompt(*language_, prompt->tensor->size(1));
    if (scenario_ == "generate") {
      if (!language_ || prompt == nullptr)
        throw Failure("usage", job_["model"].text() + " is no language model by a convention that harness knows, so it cannot generate.",
                      "Use --scenario single-stream.");
      made = std::make_unique<GenerateQuery>(*method_, counter_, *prompt->tensor, *language_,
                                             job_["new_tokens"].integer_or(1), ends());
    } else if (language_ && prompt != nullptr) {
      positions_ = first_positions(*language_, prompt->tensor->size(1));
      prompt_ = row_of(*prompt->tensor, 0);
      std::vector<er::EValue> given{er::EValue(*prompt_.tensor), er::EValue(*positions_.tensor)};
      made = std::make_unique<SingleQuery>(*method_, counter_, std::move(given), phase);
    } else {
      made = std::make_unique<SingleQuery>(*method_, counter_, arguments(program_->meta(main_), plan_, inputs_, 0), phase);
    }
    if (counter_.counts()) made->stretches = 1;  // loading was the first
    return made;
  }

  std::vector<int64_t> ends() const {
    std::vector<int64_t> tokens;
    if (!job_["end_tokens"].is_null())
      for (const Json& token : job_["end_tokens"].array()) tokens.push_back(token.integer());
    return tokens;
  }

  // Given prompts are asked each once, and their answers kept, in the first process alone: every other has the same. Of
  // prompts from a text the first answer is kept.
  void ask_first(ModelQuery& asked) {
    auto* generate = dynamic_cast<GenerateQuery*>(&asked);
    if (generate == nullptr || counter_.counts()) {
      asked.ask();
      return;
    }
    bool keeps = !job_["prompts"].is_null() && job_["block"].integer_or(0) == 0;
    size_t prompts = keeps && !job_["end_tokens"].is_null() ? generate->prompts() : 1;
    for (size_t number = 0; number < prompts; number++) {
      auto tokens = generate->ask_checked(job_["model"].text());
      if (keeps) channel_.emit("answer", {{"prompt", number}, {"tokens", tokens}});
    }
  }

  bool repeats() const { return scenario_ != "cold-start"; }

  void measure_latency() {
    auto asked = query();
    ask_first(*asked);
    Series first = first_of(*asked);
    if (!counter_.counts()) channel_.emit("samples", samples("first", first));
    if (repeats() && counter_.counts()) {
      for (auto& [phase, series] : asked->phases) series = {};
      repeat(*asked, job_["min_iterations"].integer(), job_["min_duration_s"].number(), job_["max_duration_s"].number());
    } else if (repeats()) {
      auto [warmup, steady] = warm_up(*asked, job_["max_warmup_s"].number());
      channel_.emit("samples", samples("warmup", warmup));
      channel_.scalar("warmup_steady", steady ? 1.0 : 0.0);
      channel_.scalar("queries", repeat(*asked, job_["min_iterations"].integer(), job_["min_duration_s"].number(),
                                        job_["max_duration_s"].number()));
    }
    if (!counter_.counts()) {
      if (repeats())
        for (const auto& [phase, series] : asked->phases) channel_.emit("samples", samples(phase, series));
      return;
    }
    auto counts = counter_.read(asked->stretches);
    emit_counts(channel_, "load", loading_, counts);
    emit_counts(channel_, "first", first, counts);
    if (repeats())
      for (const auto& [phase, series] : asked->phases) emit_counts(channel_, phase, series, counts);
  }

  // The first inference: the first `execute` of the first query.
  static Series first_of(const Query& query) {
    for (const auto& [phase, series] : query.phases)
      if (phase == "prefill" || query.phases.size() == 1) {
        Series first{{series.start_ns[0]}, {series.duration_ns[0]}, {}};
        if (!series.counted.empty()) first.counted = {series.counted[0]};
        return first;
      }
    return {};
  }

  static Json::Object samples(const std::string& phase, const Series& series) {
    return {{"phase", phase}, {"start_ns", series.start_ns}, {"duration_ns", series.duration_ns}, {"instructions", nullptr}};
  }

  void measure_memory() {
    auto report = [&](const char* phase) {
      report_memory(channel_, phase);
      reset_peak();
    };
    reset_peak();
    report("runtime");
    look();
    load();
    report("load");
    auto asked = query();
    asked->ask();
    report("first");
    for (int i = 0; repeats() && i < kMemoryIterations; i++) asked->ask();
    report("steady");
  }

  void measure_quality() {
    std::string folder = files_["output"].text_or("");
    if (!files_["tokens"].is_null()) {
      auto tokens = read_tensors(files_["tokens"].text());
      if (tokens.empty()) throw Failure("usage", "The evaluation text is empty.", "Give a longer text.");
      loss(channel_, *program_, *method_, description_, language_, integers(*tokens[0].second.tensor), job_["max_tokens"].integer_or(0), folder);
    } else if (!folder.empty()) {
      read_inputs();
      std::vector<std::vector<er::EValue>> sets;
      size_t count = inputs_.empty() ? kOutputSets : count_sets(inputs_);
      for (size_t set = 0; set < count; set++) sets.push_back(arguments(program_->meta(main_), plan_, inputs_, set));
      outputs(channel_, *method_, sets, folder);
    }
  }

  // ETDump of a few queries, in a process that times nothing else.
  void measure_operators() {
    auto asked = query();
    for (int i = 0; i < kProfileIterations; i++) asked->ask();
    auto dump = tracer_->get_etdump_data();
    if (dump.buf == nullptr)
      throw Failure("runtime", "ExecuTorch kept no record of operators.", "Build the worker again (`harness targets build`).");
    std::string bytes(static_cast<const char*>(dump.buf), dump.size);
    free(dump.buf);
    write_output(channel_, files_["output"].text(), "profile.etdp", bytes);
  }

  Channel& channel_;
  Json job_, files_;
  std::string measure_, scenario_, main_;
  Counter counter_;
  std::unique_ptr<executorch::etdump::ETDumpGen> tracer_;
  std::unique_ptr<Program> program_;
  std::unique_ptr<Method> method_;
  Plan plan_;
  Description description_;
  std::optional<Language> language_;
  Held positions_, prompt_;
  Series loading_;
  Inputs inputs_;
};

}  // namespace harness
