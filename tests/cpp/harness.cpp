#include "harness.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace harness {
namespace {

constexpr unsigned kSecondsPerTest = 120;

struct Test {
  const char* name;
  TestBody body;
};

std::vector<Test>& all_tests() {
  static std::vector<Test> tests;
  return tests;
}

std::atomic<TestBody> behind_each{nullptr};
std::atomic<int> failures{0};  // of the test that runs
std::atomic<const char*> running{nullptr};

// Only calls that are safe in a signal handler.
void time_is_up(int /*signal*/) {
  constexpr char kWords[] = "TIME IS UP in ";
  const char* name = running.load();
  [[maybe_unused]] auto n = write(STDERR_FILENO, kWords, sizeof(kWords) - 1);
  n = write(STDERR_FILENO, name, std::strlen(name));
  n = write(STDERR_FILENO, "\n", 1);
  std::abort();  // leaves a stack for whoever looks
}

bool run(const Test& test) {
  failures = 0;
  running = test.name;
  alarm(kSecondsPerTest);
  const auto start = std::chrono::steady_clock::now();
  try {
    test.body();
  } catch (const EndTest&) {
  } catch (const std::exception& error) {
    fail(test.name, 0, std::string("threw: ") + error.what());
  }
  if (const TestBody check = behind_each) check();
  alarm(0);
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  const bool passed = failures == 0;
  std::printf("%s %s (%.0f ms)\n", passed ? "ok    " : "FAILED", test.name, took.count());
  std::fflush(stdout);
  return passed;
}

}  // namespace

Registration::Registration(const char* name, TestBody body) {
  all_tests().push_back({name, body});
}

void after_each_test(TestBody check) {
  behind_each = check;
}

void fail(const char* file, int line, const std::string& what) {
  ++failures;
  std::fprintf(stderr, "%s:%d: %s\n", file, line, what.c_str());
}

void fail_and_end_test(const char* file, int line, const std::string& what) {
  fail(file, line, what);
  throw EndTest{};
}

}  // namespace harness

int main(int argc, char** argv) {
  using harness::all_tests;
  const std::string_view wanted = argc > 1 ? argv[1] : "";
  if (wanted == "--list") {
    for (const auto& test : all_tests()) std::puts(test.name);
    return 0;
  }
  std::signal(SIGALRM, harness::time_is_up);
  int ran = 0;
  int failed = 0;
  for (const auto& test : all_tests()) {
    if (std::string_view(test.name).find(wanted) == std::string_view::npos) continue;
    ++ran;
    failed += harness::run(test) ? 0 : 1;
  }
  std::printf("%d tests, %d failed\n", ran, failed);
  if (ran == 0) std::fprintf(stderr, "no test's name holds \"%s\"\n", argc > 1 ? argv[1] : "");
  return failed == 0 && ran > 0 ? 0 : 1;
}
