#pragma once

namespace storm {

// Stands around everything that may block the host. The Python layer registers what drops and
// retakes the GIL; without Python it does nothing. The engine never includes Python.h.
class BlockingRegion {
 public:
  using Enter = void* (*)() noexcept;  // returns a token, nullptr when there was nothing to release
  using Leave = void (*)(void* token) noexcept;
  static void set_callbacks(Enter enter, Leave leave) noexcept;

  BlockingRegion() noexcept;
  ~BlockingRegion();
  BlockingRegion(const BlockingRegion&) = delete;
  BlockingRegion& operator=(const BlockingRegion&) = delete;

 private:
  void* token_ = nullptr;
};

}  // namespace storm
