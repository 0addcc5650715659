#pragma once
#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <memory>

namespace storm {

// A point in a stream's order. Move-only; always recorded exactly once, so "which recording?" never
// arises. Safe to destroy at any time: the device's handle is kept for the next record, and
// abandoned after process exit has begun.
class Event {
 public:
  enum class Timing { no, yes };
  // Does not synchronise.
  static Event record(const c10::Stream& stream, Timing timing = Timing::no);

  Event(Event&&) noexcept = default;
  Event& operator=(Event&&) noexcept = default;

  void block(
      const c10::Stream& stream) const;  // `stream` waits for this point; does not synchronise
  bool done() const;                     // does not synchronise
  bool timed() const { return event_->flag() == c10::EventFlag::BACKEND_DEFAULT; }
  void synchronize() const;                          // blocks the host; drops the GIL if it is held
  double seconds_since(const Event& earlier) const;  // both with Timing::yes and done

 private:
  struct Recycle {
    void operator()(c10::Event* event) const noexcept;
  };
  explicit Event(std::unique_ptr<c10::Event, Recycle> event) : event_(std::move(event)) {}
  std::unique_ptr<c10::Event, Recycle> event_;
};

using EventRef = std::shared_ptr<const Event>;

}  // namespace storm
