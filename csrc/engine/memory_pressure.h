#pragma once
#include <c10/core/Device.h>

#include <memory>
#include <mutex>
#include <vector>

namespace storm {

// Holds device memory for later and can do without it at any time, on any thread. Takes no lock
// that is held while calling an allocator: an allocator that runs dry may be what calls.
class Holder {
 public:
  virtual ~Holder() = default;
  virtual bool release_held() = 0;  // false when nothing was held
};

// The holders of one engine. Thread-safe.
class Holders {
 public:
  void add(std::weak_ptr<Holder> holder);
  bool release_held();

 private:
  std::mutex mutex_;  // guards what follows; not held while a holder is asked
  std::vector<std::weak_ptr<Holder>> holders_;
  size_t sweep_at_ = 16;  // holders that are gone are forgotten when there are this many
};

// The engines of `device` give up what they hold for later, so that an allocation that failed can
// be tried again; false when that freed nothing. What allocators call (see transfer/device_extras.h
// and the simulator). Never throws.
bool release_held(c10::Device device) noexcept;
void register_holder(c10::Device device, std::weak_ptr<Holder> holder);

// While one lives, `release_held` of a device does nothing on this thread: what is allocated here
// is itself only for later.
class ForLater {
 public:
  ForLater();
  ~ForLater();
  ForLater(const ForLater&) = delete;
  ForLater& operator=(const ForLater&) = delete;
};

}  // namespace storm
