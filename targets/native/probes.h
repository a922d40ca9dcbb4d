// What the kernel knows of this process: its memory by phase and its storage traffic.
#pragma once

#include <fcntl.h>
#include <fstream>
#include <sched.h>
#include <sstream>
#include <string>
#include <sys/resource.h>
#include <unistd.h>
#include <utility>

#include "channel.h"
#include "json.h"

namespace harness {

// The number behind `name` in a /proc file of `name: number [kB]` lines; null where there is none.
inline Json proc_field(const char* path, const std::string& name, int64_t unit = 1024) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);)
    if (line.rfind(name + ":", 0) == 0) return unit * int64_t{strtoll(line.c_str() + name.size() + 1, nullptr, 10)};
  return nullptr;
}

// Memory at the end of `phase`; the peak is VmHWM and not ru_maxrss, which a child inherits over fork and exec. The
// next peak is that of the next phase alone, where the kernel allows it. The peak is read last: reading may take a page,
// and what is there now is never above it.
inline void report_memory(Channel& channel, const char* phase) {
  channel.emit("memory", {{"phase", phase},
                          {"rss_bytes", proc_field("/proc/self/status", "VmRSS")},
                          {"peak_rss_bytes", proc_field("/proc/self/status", "VmHWM")},
                          {"pss_bytes", proc_field("/proc/self/smaps_rollup", "Pss")},
                          {"device_bytes", nullptr}});
}

inline void reset_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }

class IoProbe {
 public:
  // Returns what the kernel has fetched from the device since the probe began; null where it does not say.
  Json report(Channel& channel, const char* phase, int64_t asked_bytes) const {
    Json now = read_bytes();
    bool known = !now.is_null() && !read_bytes_.is_null();
    Json read = known ? Json(now.integer() - read_bytes_.integer()) : Json();
    channel.emit("io", {{"phase", phase},
                        {"asked_bytes", asked_bytes},
                        {"read_bytes", read},
                        {"major_faults", major_faults() - major_faults_}});
    return read;
  }

 private:
  static Json read_bytes() { return proc_field("/proc/self/io", "read_bytes", 1); }
  static int64_t major_faults() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_majflt;
  }
  Json read_bytes_ = read_bytes();
  int64_t major_faults_ = major_faults();
};

// Ask the kernel to forget the pages of a file; dirty ones must be written first. It may decline: see `IoProbe`.
inline void drop_page_cache(const std::string& path) {
  int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return;  // loading will say so
  fsync(descriptor);
  posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
  close(descriptor);
}

inline Json::Integers allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  Json::Integers cpus;
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
      if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  return cpus;
}

}  // namespace harness
