// The worker's way to its harness: events on the real standard output, everything else on standard error.
#pragma once

#include <cstdio>
#include <string>
#include <unistd.h>

#include "json.h"

namespace harness {

class Channel {
 public:
  // From here on file descriptor 1 leads to standard error: what libraries print cannot break the stream.
  Channel() : out_(fdopen(dup(1), "w")) { dup2(2, 1); }

  // One event at once, its name first. Exits when the harness is gone.
  void emit(const char* event, Json::Object fields) {
    fields.insert(fields.begin(), {"event", event});
    std::string line = Json(std::move(fields)).dump() + "\n";
    if (fwrite(line.data(), 1, line.size(), out_) != line.size() || fflush(out_) != 0) _exit(1);
  }

  void scalar(const char* name, Json value, Json reason = nullptr, Json phase = nullptr) {
    emit("scalar", {{"name", name}, {"value", value}, {"reason", reason}, {"phase", phase}});
  }

 private:
  FILE* out_;
};

}  // namespace harness
