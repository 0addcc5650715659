// Streams that say a graph of them is being captured. Nothing is: what is issued runs as ever. For
// tests of code that must not act while a graph is captured.
#pragma once

#include <c10/core/Stream.h>

namespace storm::sim {

class Capture {
 public:
  explicit Capture(const c10::Stream& stream);
  ~Capture();
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  static bool of(const c10::Stream& stream);

 private:
  const c10::Stream stream_;
};

}  // namespace storm::sim
