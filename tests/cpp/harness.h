#pragma once

// A small test harness: no download, no dependency. One program per tests/cpp/test_*.cpp.
//
//   TEST(a_freed_block_waits_for_its_event) {
//     EXPECT(pool.empty());                          // reports, goes on
//     EXPECT_EQ(pool.bytes(), 512);
//     REQUIRE(buffer.has_value());                   // reports, ends this test
//     EXPECT_THROWS(pool.take(-1), "negative size"); // any exception whose text holds these words
//   }
//
// EXPECT may be used from any thread, REQUIRE from the test's own. Each test has a time limit.
// `test_x NAME` runs the tests whose name holds NAME; `test_x --list` names them.

#include <exception>
#include <sstream>
#include <string>
#include <string_view>

namespace harness {

using TestBody = void (*)();

struct Registration {
  Registration(const char* name, TestBody body);
};

// From now on also asked behind each test's body, the present one's too; it may fail the test.
void after_each_test(TestBody check);

// Thrown by REQUIRE to end the test; carries nothing, the failure is reported already.
struct EndTest {};

void fail(const char* file, int line, const std::string& what);
[[noreturn]] void fail_and_end_test(const char* file, int line, const std::string& what);

template <typename A, typename B>
void expect_equal(const A& a, const B& b, const char* text, const char* file, int line) {
  if (!(a == b)) {
    std::ostringstream message;
    message << text << ": " << a << " is not " << b;
    fail(file, line, message.str());
  }
}

template <typename Body>
void expect_throws(Body&& body, std::string_view words, const char* text, const char* file,
                   int line) {
  try {
    body();
  } catch (const std::exception& error) {
    if (std::string_view(error.what()).find(words) == std::string_view::npos) {
      fail(file, line,
           std::string(text) + " threw without the words \"" + std::string(words) +
               "\": " + error.what());
    }
    return;
  }
  fail(file, line, std::string(text) + " threw nothing");
}

}  // namespace harness

#define TEST(name)                                                                      \
  static void test_body_##name();                                                       \
  static const harness::Registration test_registration_##name(#name, test_body_##name); \
  static void test_body_##name()

#define EXPECT(condition)                                            \
  do {                                                               \
    if (!(condition)) harness::fail(__FILE__, __LINE__, #condition); \
  } while (false)

#define REQUIRE(condition)                                                        \
  do {                                                                            \
    if (!(condition)) harness::fail_and_end_test(__FILE__, __LINE__, #condition); \
  } while (false)

#define EXPECT_EQ(a, b) harness::expect_equal((a), (b), #a " == " #b, __FILE__, __LINE__)

#define EXPECT_THROWS(expression, words)                                                       \
  harness::expect_throws([&] { static_cast<void>(expression); }, words, #expression, __FILE__, \
                         __LINE__)
