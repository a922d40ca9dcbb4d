// An error of the protocol: what happened, what to do next.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace harness {

struct Failure : std::runtime_error {
  Failure(std::string kind, std::string what, std::string todo)
      : std::runtime_error(what), kind(std::move(kind)), todo(std::move(todo)) {}
  std::string kind, todo;
};

}  // namespace harness
