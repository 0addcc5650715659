#pragma once
#include <pybind11/pybind11.h>

#include <array>
#include <utility>
#include <vector>

namespace storm::python {

// What the modules of a tree hold, to see cheaply whether somebody changed it since. Compares
// identities only; values are kept alive so that an address is not reused, but tensors among plain
// attributes are not: they may hold a whole graph.
class ModuleRecord {
 public:
  explicit ModuleRecord(const std::vector<pybind11::object>& modules);

  struct Changes {
    // Whether a module has other children, parameters or buffers: not the same objects under the
    // same names.
    bool structure = false;
    // (index of module, name) of attributes added, replaced or removed.
    std::vector<std::pair<size_t, pybind11::object>> attributes;
    // Modules whose forward hooks are others.
    std::vector<size_t> hooks;
  };
  // Since the last call.
  Changes look();

  int traverse(visitproc visit, void* arg) const;
  void clear();

 private:
  struct Item {
    PyObject *name, *value;
  };
  struct Entry {
    PyObject* attributes;               // the module's __dict__
    std::array<PyObject*, 3> children;  // its _parameters, _buffers and _modules
    std::vector<Item> items;            // of __dict__
    std::vector<Item> members;          // of the three, in turn
    std::array<PyObject*, 2> hooks;     // its _forward_hooks and _forward_pre_hooks
    std::vector<Item> hook_items;       // of the two, in turn
    std::vector<pybind11::object> kept, kept_members, kept_hooks;
  };
  // Appends what `dict` holds, and keeps it and that alive.
  static void note_items(PyObject* dict, std::vector<Item>& items,
                         std::vector<pybind11::object>& kept);
  static void note_attributes(Entry& entry);
  static void note_hooks(Entry& entry);
  template <typename Dicts>
  static bool same_content(const Dicts& dicts, const std::vector<Item>& items);
  static bool same_items(PyObject* dict, const std::vector<Item>& items, size_t& at);

  std::vector<Entry> entries_;
};

// How often Python objects are referred to while nobody but their owner uses them.
class ReferenceCounts {
 public:
  explicit ReferenceCounts(std::vector<pybind11::object> objects) : objects_(std::move(objects)) {}
  void settle();
  bool unreferenced() const;
  int traverse(visitproc visit, void* arg) const;
  void clear() { objects_.clear(); }

 private:
  std::vector<pybind11::object> objects_;
  std::vector<Py_ssize_t> settled_;
};

}  // namespace storm::python
