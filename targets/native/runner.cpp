// The native worker: one line of JSON in, JSON Lines out (harness/protocol.py). Runs wherever ExecuTorch does.
#include <csignal>
#include <cstdio>
#include <iostream>
#include <new>
#include <string>
#include <sys/prctl.h>
#include <unistd.h>

#include <executorch/runtime/platform/runtime.h>

#include "channel.h"
#include "failure.h"
#include "json.h"
#include "log.h"
#include "steady.h"
#include "worker.h"

namespace {

// `runner --steady`: how many of the durations on standard input until the rule is content, -1 for never. A test holds
// this against the Python rule.
int print_steady() {
  harness::SteadyRule rule;
  int64_t count = 0, duration = 0;
  while (std::cin >> duration) {
    rule.add(duration);
    count++;
    if (rule.steady()) {
      std::cout << count << "\n";
      return 0;
    }
  }
  std::cout << "-1\n";
  return 0;
}

void fail(harness::Channel& channel, const std::string& kind, const std::string& message, const std::string& todo) {
  channel.emit("error", {{"kind", kind}, {"message", message}, {"todo", todo}});
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::string(argv[1]) == "--steady") return print_steady();
  pid_t parent = getppid();
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // a killed harness must not leave a worker behind that heats the machine
  if (getppid() != parent) return 1;  // it was killed a moment ago
  harness::Channel channel;
  std::string line;
  std::getline(std::cin, line);
  harness::listen();
  executorch::runtime::runtime_init();
  try {
    harness::Json request = harness::Json::parse(line);
    harness::Worker(channel, request).work();
    channel.emit("done", {});
  } catch (const harness::Failure& failure) {
    fail(channel, failure.kind, failure.what(), failure.todo);
  } catch (const std::bad_alloc&) {
    fail(channel, "memory", "The worker ran out of memory.", "Free memory, or give a smaller batch.");
  } catch (const std::exception& error) {
    fail(channel, "runtime", std::string("The worker failed: ") + error.what() + ".",
         "`harness report` shows its standard error.");
  }
  fflush(stderr);
  _exit(0);  // the stream tells how it went; unloading delegates would only take time
}
