#pragma once
#include <Python.h>

#include <memory>

#include "engine/offload_context.h"

namespace storm::python {

// A callable whose type tells the C++ hook dispatch "this pair is ours, and here is its context".
// Called from Python it does the same work, which is the fall-back where the dispatch cannot be
// installed.
struct Sentinel {
  PyObject_HEAD std::shared_ptr<OffloadContext>*
      context;  // owned; set before the object is published, never changed
  bool packs;
};

// Makes the type; once, with the GIL.
PyObject* sentinel_type();
// A new reference. Null with a Python error set when memory is out.
PyObject* new_sentinel(std::shared_ptr<OffloadContext> context, bool packs);

}  // namespace storm::python
