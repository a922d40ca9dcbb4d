// What ExecuTorch says when something fails. Its error codes name a kind; its messages name the cause.
#pragma once

#include <cstdio>
#include <string>

#include <executorch/runtime/core/error.h>
#include <executorch/runtime/platform/platform.h>

namespace harness {

// The first complaint since the last `forget_complaints`: those that follow only pass it on.
inline std::string& first_complaint() {
  static std::string text;
  return text;
}
inline void forget_complaints() { first_complaint().clear(); }

// The complaint as part of a sentence; empty where there is none.
inline std::string complaint() {
  const std::string& text = first_complaint();
  return text.empty() ? "" : " (ExecuTorch: " + text.substr(0, 300) + ")";
}

// What a code means for a model that was to be loaded or run.
inline std::string meaning(executorch::runtime::Error error) {
  using Error = executorch::runtime::Error;
  switch (error) {
    case Error::NotSupported: return "a size or a number of dimensions that it does not support";
    case Error::InvalidArgument: return "an argument that an operator or the method does not take: its dtype, its sizes or its value";
    case Error::InvalidType: return "a value of a kind that an operator does not take";
    case Error::OperatorMissing: return "an operator is missing";
    case Error::NotFound: return "data that it refers to was not found";
    case Error::MemoryAllocationFailed: return "there is too little memory";
    case Error::InvalidProgram: return "the program is damaged";
    case Error::InvalidExternalData: return "the data file does not fit";
    case Error::DelegateInvalidCompatibility: return "a delegate's part was made by another version";
    case Error::DelegateMemoryAllocationFailed: return "a delegate got too little memory";
    default: return executorch::runtime::to_string(error);
  }
}

// From here on complaints are remembered; all that is said goes to standard error as before.
inline void listen() {
  auto log = [](et_timestamp_t, et_pal_log_level_t level, const char*, const char* function, size_t line,
                const char* message, size_t length) {
    fprintf(stderr, "%c %s:%zu %.*s\n", level, function, line, static_cast<int>(length), message);
    if ((level == kError || level == kFatal) && first_complaint().empty()) first_complaint().assign(message, length);
  };
  executorch::runtime::register_pal(executorch::runtime::PalImpl::create(log, __FILE__));
}

}  // namespace harness
