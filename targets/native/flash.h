// The flash scenario without an engine: the reads that one made elsewhere (harness/flash/language_model/recording.py), made again from
// this device's own storage. Nothing is computed: a token is what it waits for.
#pragma once

#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "channel.h"
#include "crc32.h"
#include "probes.h"
#include "scenarios.h"
#include "storage.h"
#include "tensors.h"

namespace harness {

// Of the bytes asked for, what the kernel must have fetched for a process to count.
inline constexpr double kReallyRead = 0.99;
inline constexpr const char* kReplayed = "only reads were made on this device, those of a run elsewhere: nothing is computed";

// What was recorded; see harness/flash/language_model/recording.py.
class Recording {
 public:
  explicit Recording(const std::string& path) : path_(path), tensors_(read_tensors(path)) {}

  std::span<const int64_t> column(const std::string& name) const {
    const std::vector<uint8_t>& bytes = find(name);
    return {reinterpret_cast<const int64_t*>(bytes.data()), bytes.size() / sizeof(int64_t)};
  }
  std::span<const uint32_t> checksums() const {
    const std::vector<uint8_t>& bytes = find("crcs");
    return {reinterpret_cast<const uint32_t*>(bytes.data()), bytes.size() / sizeof(uint32_t)};
  }
  int64_t number(const std::string& name) const {
    if (column(name).size() != 1) throw damaged();
    return column(name)[0];
  }
  Failure damaged() const { return Failure("usage", path_ + " is no recording of reads.", "Was it pushed whole? Run again."); }

 private:
  const std::vector<uint8_t>& find(const std::string& wanted) const {
    for (const auto& [name, held] : tensors_)
      if (name == wanted) return held.bytes;
    throw damaged();
  }
  std::string path_;
  std::vector<std::pair<std::string, Held>> tensors_;
};

// Asks the recorded sequences one after the other. The last one is the first again, with what the others left in DRAM:
// the second follows it. A row is held against its checksum when it has come, and that is in no time.
class ReadsQuery : public Query {
 public:
  ReadsQuery(const Recording& recording, Storage& storage, int64_t prompt_tokens, int64_t new_tokens)
      : storage_(storage), prompt_(prompt_tokens), length_(prompt_tokens + new_tokens - 1),
        tokens_(recording.column("tokens")), batches_(recording.column("batches")), offsets_(recording.column("offsets")),
        lengths_(recording.column("lengths")), slots_(recording.column("slots")), active_(recording.column("active")),
        hits_(recording.column("hits")), crcs_(recording.checksums()), row_bytes_(recording.number("row_bytes")),
        records_at_(recording.number("records_at")) {
    phases = {{"decode_read", {}}};
    if (!is_complete()) throw recording.damaged();
    if (!storage.holds({static_cast<int64_t>(offsets_.size()), offsets_.data(), lengths_.data(), slots_.data()}))
      throw Failure("model", "Of the recorded reads some lie beyond the neuron file, or beyond the arena.",
                    "Was the file pushed whole? Run again.");
    for (int64_t count : tokens_) first_batch_.push_back(first_batch_.back() + count);
    for (int64_t count : batches_) first_read_.push_back(first_read_.back() + count);
  }

  int64_t asked_bytes = 0;  // of all tokens; what follows is of those that are not a prompt's
  int64_t bytes = 0, reads = 0, active = 0, hits = 0;

  // Begin to count anew; the sequences go on where they are.
  void forget() { asked_bytes = bytes = reads = active = hits = 0; }

  int64_t ask() override {
    auto sequences = static_cast<int64_t>(tokens_.size()) / length_;
    int64_t sequence = asked_ < sequences ? asked_ : 1 + (asked_ - 1) % (sequences - 1), total = 0;
    asked_++;
    for (int64_t position = 0; position < length_; position++) {
      auto token = static_cast<size_t>(sequence * length_ + position);
      int64_t start = now_ns(), size = 0, taken = make(token, size);
      asked_bytes += size;
      total += taken;
      if (position < prompt_) continue;
      phases[0].second.start_ns.push_back(start);
      phases[0].second.duration_ns.push_back(taken);
      bytes += size;
      reads += first_read_[first_batch_[token + 1]] - first_read_[first_batch_[token]];
      active += active_[token];
      hits += hits_[token];
    }
    return total;
  }

 private:
  // The reads of a token; returns their nanoseconds, and adds their bytes to `size`.
  int64_t make(size_t token, int64_t& size) {
    int64_t taken = 0;
    for (int64_t batch = first_batch_[token]; batch < first_batch_[token + 1]; batch++) {
      int64_t first = first_read_[batch];
      Pieces pieces{batches_[batch], &offsets_[first], &lengths_[first], &slots_[first]};
      int64_t start = now_ns();
      storage_.read(pieces);
      taken += now_ns() - start;
      for (int64_t i = 0; i < pieces.count; i++) {
        size += pieces.lengths[i];
        check(pieces.offsets[i], pieces.lengths[i], storage_.slot(pieces.slots[i]));
      }
    }
    return taken;
  }

  // What lies behind the rows, attention and all else, has no checksums.
  void check(int64_t offset, int64_t length, const uint8_t* rows) const {
    int64_t row = (offset - records_at_) / row_bytes_;
    for (int64_t at = 0; at < length && row < static_cast<int64_t>(crcs_.size()); at += row_bytes_, row++)
      if (crc32(rows + at, static_cast<size_t>(row_bytes_)) != crcs_[row])
        throw Failure("model", "Row " + std::to_string(row) + " of the neuron file is corrupted: its bytes have another checksum.",
                      "Write it again with `harness flash build`. If that does not help, the disk fails.");
  }

  // Whether the counts add up and all rows can be checked.
  bool is_complete() const {
    auto sums_to = [](std::span<const int64_t> counts, size_t total) {
      for (int64_t count : counts)
        if (count < 0 || static_cast<size_t>(count) > total) return false;
      return std::accumulate(counts.begin(), counts.end(), int64_t{0}) == static_cast<int64_t>(total);
    };
    if (length_ < 1 || row_bytes_ < 1 || tokens_.size() < 2 * static_cast<size_t>(length_) || tokens_.size() % length_ ||
        active_.size() != tokens_.size() || hits_.size() != tokens_.size() || lengths_.size() != offsets_.size() ||
        slots_.size() != offsets_.size() || !sums_to(tokens_, batches_.size()) || !sums_to(batches_, offsets_.size()))
      return false;
    int64_t rows_end = records_at_ + row_bytes_ * static_cast<int64_t>(crcs_.size());
    for (size_t i = 0; i < offsets_.size(); i++) {
      int64_t from_first = offsets_[i] - records_at_;
      bool rows = from_first >= 0 && from_first % row_bytes_ == 0 && lengths_[i] % row_bytes_ == 0;
      if (offsets_[i] < rows_end && !rows) return false;
    }
    return true;
  }

  Storage& storage_;
  int64_t prompt_, length_;
  std::span<const int64_t> tokens_, batches_, offsets_, lengths_, slots_, active_, hits_;
  std::span<const uint32_t> crcs_;
  int64_t row_bytes_, records_at_, asked_ = 0;
  std::vector<int64_t> first_batch_{0}, first_read_{0};
};

// One job of the scenario. `emulated`: there is no clock, so that durations are null.
inline void repeat_reads(Channel& channel, const Json& job, const Json& files, bool emulated) {
  const std::string measure = job["measure"].text();
  auto unknown = [&](std::initializer_list<const char*> names, const char* why) {
    for (const char* name : names) channel.scalar(name, nullptr, why);
  };
  if (measure == "quality") return unknown({"loss_nats"}, kReplayed);
  if (measure == "profile")
    throw Failure("usage", "Operators are not recorded where weights are read from flash.", "Leave out --profile.");
  Recording recording(files["reads"].text());
  for (const char* name : {"arena_bytes", "kept_bytes", "dram_bytes"}) channel.scalar(name, recording.number(name));
  if (measure == "memory") return unknown({"peak_rss_bytes"}, kReplayed);
  Storage storage(files["neurons"].text(), job["reader"].text_or(""), job["depth"].integer_or(0),
                  recording.number("arena_slots"), recording.number("slot_bytes"));
  ReadsQuery query(recording, storage, job["prompt_tokens"].integer(), job["new_tokens"].integer());
  if (!storage.direct()) {
    Json cached = storage.cached_fraction();
    channel.scalar("cached_fraction", cached, cached.is_null() ? Json("not known") : Json());
  }
  query.ask();
  if (!emulated) {
    auto [warmup, steady] = warm_up(query, job["max_warmup_s"].number());
    channel.emit("samples", {{"phase", "warmup"},
                             {"start_ns", warmup.start_ns},
                             {"duration_ns", warmup.duration_ns},
                             {"instructions", nullptr}});
    channel.scalar("warmup_steady", steady ? 1.0 : 0.0);
  }
  query.phases[0].second = {};
  query.forget();
  IoProbe probe;
  int64_t queries =
      repeat(query, job["min_iterations"].integer(), job["min_duration_s"].number(), job["max_duration_s"].number());
  Json read = probe.report(channel, "generate", query.asked_bytes);
  channel.scalar("queries", queries);
  const Series& series = query.phases[0].second;
  // What a pipeline hides of its reads depends on what is computed meanwhile; else a token waits for all of them.
  bool waits = job["policy"].text() != "pipeline";
  for (const char* phase : {"decode_read", "decode_io"})
    if (waits || std::string(phase) == "decode_read")
      channel.emit("samples", {{"phase", phase},
                               {"start_ns", series.start_ns},
                               {"duration_ns", emulated ? Json() : Json(series.duration_ns)},
                               {"instructions", nullptr}});
  channel.scalar("decode_flash_bytes", query.bytes);
  channel.scalar("decode_flash_reads", query.reads);
  channel.scalar("decode_active_neurons", query.active);
  channel.scalar("decode_hits", query.hits);
  unknown({"decode_latency_ns_p50", "decode_mem_ns_p50", "decode_compute_ns_p50", "token_agreement"}, kReplayed);
  if (emulated || !waits)
    unknown({"decode_io_ns_p50"}, emulated ? "an emulated processor has no clock" : kReplayed);
  unknown({"peer_ratio"}, "fio is not asked on this device");
  if (read.is_null())
    throw Failure("worker", "This process does not count: the kernel does not count the bytes that a process reads.",
                  "Choose another device.");
  if (static_cast<double>(read.integer()) < kReallyRead * static_cast<double>(query.asked_bytes))
    throw Failure("worker",
                  "This process does not count: of " + std::to_string(query.asked_bytes) + " bytes asked for, " +
                      read.dump() + " came from the device.",
                  "Choose a reader that passes by the page cache (--reader).");
}

}  // namespace harness
