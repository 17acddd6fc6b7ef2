// What the tests of files share: the message of an expected error.
#pragma once

#include <filesystem>
#include <gtest/gtest.h>
#include <iterator>
#include <string>
#include <string_view>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/files.h"

namespace natrix::test {

/// The message of the Error that `f` throws; a test failure and an empty text if it throws none.
template <class Error, class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  } catch (const std::exception& e) {
    ADD_FAILURE() << "another error than expected: " << e.what();
    return {};
  }
  ADD_FAILURE() << "no error";
  return {};
}

inline ::testing::AssertionResult mentions(const std::string& message, std::string_view part) {
  if (message.find(part) != std::string::npos) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "\"" << message << "\" does not mention \"" << part << "\"";
}

inline int64_t entries_in(const std::string& dir) {
  return std::distance(std::filesystem::directory_iterator(dir), {});
}

/// What waitpid says of a child that runs `f` and exits with what it returns.
template <class F>
int status_of_child(F&& f) {
  const pid_t child = fork();
  if (child == 0) _exit(f());
  int status = -1;
  waitpid(child, &status, 0);
  return status;
}

}  // namespace natrix::test
