#pragma once
#include <c10/core/SafePyObject.h>

#include <memory>

#include "engine/offload_context.h"

namespace storm {

// Note [Composition with torch's hook stack]
// torch keeps a stack of Python (pack, unpack) pairs per thread and hands it to autograd's threads;
// the innermost pair answers, and tracing, checkpointing and `disable_saved_tensors_hooks` all act
// on that stack. We therefore push a pair of our own (the sentinel, made by the Python layer) and
// answer in C++ only while it is on top. The place we answer from is a facade in front of torch's
// autograd engine, whose `get_default_saved_variable_hooks` is virtual; everything else it
// forwards. Where the facade cannot be installed the sentinel pair, which is callable, does the
// same work through Python.

// Reads the context out of a sentinel without touching its reference count; null when the object is
// not ours.
using SentinelLookup =
    const std::shared_ptr<OffloadContext>* (*)(const c10::SafePyObject& pack_hook) noexcept;

// How the Python layer's sentinels are read; set while it loads.
void set_sentinel_lookup(SentinelLookup lookup) noexcept;

// Puts the facade in front of torch's engine; true when torch now asks us. Idempotent. Called when
// something is first offloaded, not earlier: autograd starts its threads once per process, for the
// devices it then sees, and they must be those of the engine behind the facade.
bool ensure_hook_dispatch();

// In a forked child autograd's threads are gone, and the engine behind the facade would wait for
// them at exit.
void hook_dispatch_after_fork();

// For C++ and for layers: while one lives, this thread's saves go to its context, unless a pair on
// torch's stack or a ban on hooks stands before it. Null context: nothing changes.
class OffloadScope {
 public:
  explicit OffloadScope(std::shared_ptr<OffloadContext> context);
  ~OffloadScope();
  OffloadScope(const OffloadScope&) = delete;
  OffloadScope& operator=(const OffloadScope&) = delete;

  static const std::shared_ptr<OffloadContext>& current() noexcept;

 private:
  std::shared_ptr<OffloadContext> outer_;
};

}  // namespace storm
