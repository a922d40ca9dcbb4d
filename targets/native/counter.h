// Instructions of stretches of the program, where an emulator counts them (see counts.h and icount.c).
#pragma once

#include <array>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

#include "counts.h"
#include "failure.h"

namespace harness {

using Counts = std::array<uint64_t, HARNESS_CLASSES>;

class Counter {
 public:
  // HARNESS_COUNTS names the file that the emulator writes; without it nothing is counted and nothing is called.
  Counter() {
    if (const char* file = getenv("HARNESS_COUNTS")) file_ = file;
  }

  bool counts() const { return !file_.empty(); }
  void begin() const {
    if (counts()) syscall(SYS_prctl, HARNESS_MARK_BEGIN, 0, 0, 0, 0);
  }
  void end() const {
    if (counts()) syscall(SYS_prctl, HARNESS_MARK_END, 0, 0, 0, 0);
  }

  // One entry a stretch since the process began, in order. Throws unless there are `expected` of them.
  std::vector<Counts> read(size_t expected) const {
    std::ifstream file(file_, std::ios::binary);
    std::vector<Counts> all;
    Counts record;
    while (file.read(reinterpret_cast<char*>(record.data()), sizeof record)) all.push_back(record);
    if (all.size() != expected)
      throw Failure("instructions",
                    "The emulator counted " + std::to_string(all.size()) + " stretches, not " +
                        std::to_string(expected) + ".",
                    "Is the disk of the temporary folder full?");
    return all;
  }

 private:
  std::string file_;
};

}  // namespace harness
