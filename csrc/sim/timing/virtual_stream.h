// A stream that is a time line: tasks run at once on the caller's thread, if memory is real, and
// take their place in virtual time.
#pragma once

#include "sim/stream.h"

namespace storm::sim {

class VirtualStream final : public Stream {
 public:
  using Stream::Stream;

  void quiesce(TimePoint) override {}

 private:
  void accept(Task task, const Work& work) override;
  MarkerRef accept_record(Moment known) override;
  bool finished() override;
  void wait_until_finished() override;

  void execute(Task& task);
  void count(const Task& task, const Work& work, int64_t begin_ns, int64_t end_ns) const;

  int64_t end_ns_ = 0;  // of the last task; guarded by mutex_
};

}  // namespace storm::sim
