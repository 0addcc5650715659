#include "python/module_record.h"

#include <torch/csrc/autograd/python_variable.h>

namespace py = pybind11;

namespace storm::python {
namespace {

constexpr std::array kChildren{"_parameters", "_buffers", "_modules"};
constexpr std::array kHooks{"_forward_hooks", "_forward_pre_hooks"};

PyObject* dict_of(PyObject* attributes, const char* name) {
  PyObject* dict = PyDict_GetItemString(attributes, name);
  if (dict == nullptr || !PyDict_Check(dict))
    throw pybind11::type_error(std::string("a module whose ") + name + " is no dict");
  return dict;
}

py::object borrowed(PyObject* object) {
  return py::reinterpret_borrow<py::object>(object);
}

}  // namespace

ModuleRecord::ModuleRecord(const std::vector<py::object>& modules) {
  entries_.reserve(modules.size());
  for (const auto& module : modules) {
    Entry entry;
    const py::object attributes = module.attr("__dict__");
    entry.attributes = attributes.ptr();
    entry.kept_members.push_back(attributes);
    for (size_t i = 0; i < kChildren.size(); ++i) {
      entry.children[i] = dict_of(entry.attributes, kChildren[i]);
      note_items(entry.children[i], entry.members, entry.kept_members);
    }
    note_attributes(entry);
    note_hooks(entry);
    entries_.push_back(std::move(entry));
  }
}

void ModuleRecord::note_items(PyObject* dict, std::vector<Item>& items,
                              std::vector<py::object>& kept) {
  kept.push_back(borrowed(dict));
  Py_ssize_t position = 0;
  PyObject *name = nullptr, *value = nullptr;
  while (PyDict_Next(dict, &position, &name, &value)) {
    items.push_back({name, value});
    kept.push_back(borrowed(name));
    kept.push_back(borrowed(value));
  }
}

void ModuleRecord::note_attributes(Entry& entry) {
  std::vector<py::object> kept;
  entry.items.clear();
  Py_ssize_t position = 0;
  PyObject *name = nullptr, *value = nullptr;
  while (PyDict_Next(entry.attributes, &position, &name, &value)) {
    entry.items.push_back({name, value});
    kept.push_back(borrowed(name));
    if (!THPVariable_Check(value)) kept.push_back(borrowed(value));
  }
  entry.kept = std::move(kept);
}

bool ModuleRecord::same_items(PyObject* dict, const std::vector<Item>& items, size_t& at) {
  Py_ssize_t position = 0;
  PyObject *name = nullptr, *value = nullptr;
  while (PyDict_Next(dict, &position, &name, &value)) {
    if (at == items.size() || items[at].name != name || items[at].value != value) return false;
    ++at;
  }
  return true;
}

void ModuleRecord::note_hooks(Entry& entry) {
  entry.hook_items.clear();
  std::vector<py::object> kept;
  for (size_t i = 0; i < kHooks.size(); ++i) {
    entry.hooks[i] = dict_of(entry.attributes, kHooks[i]);
    note_items(entry.hooks[i], entry.hook_items, kept);
  }
  entry.kept_hooks = std::move(kept);
}

template <typename Dicts>
bool ModuleRecord::same_content(const Dicts& dicts, const std::vector<Item>& items) {
  size_t at = 0;
  for (PyObject* dict : dicts) {
    if (PyDict_Size(dict) > 0 && !same_items(dict, items, at)) return false;
  }
  return at == items.size();
}

ModuleRecord::Changes ModuleRecord::look() {
  Changes changes;
  for (size_t i = 0; i < entries_.size(); ++i) {
    auto& entry = entries_[i];
    if (!same_content(entry.children, entry.members)) changes.structure = true;
    if (!same_content(entry.hooks, entry.hook_items)) {
      changes.hooks.push_back(i);
      note_hooks(entry);
    }
    size_t at = 0;
    if (same_items(entry.attributes, entry.items, at) && at == entry.items.size()) continue;
    for (size_t c = 0; c < kChildren.size(); ++c) {
      if (PyDict_GetItemString(entry.attributes, kChildren[c]) != entry.children[c])
        changes.structure = true;
    }
    note_hooks(entry);
    for (const auto& item : entry.items) {
      if (PyDict_GetItem(entry.attributes, item.name) != item.value)
        changes.attributes.emplace_back(i, borrowed(item.name));
    }
    Py_ssize_t position = 0;
    PyObject *name = nullptr, *value = nullptr;
    while (PyDict_Next(entry.attributes, &position, &name, &value)) {
      bool known = false;
      for (const auto& item : entry.items) known |= item.name == name;
      if (!known) changes.attributes.emplace_back(i, borrowed(name));
    }
    note_attributes(entry);
  }
  return changes;
}

int ModuleRecord::traverse(visitproc visit, void* arg) const {
  for (const auto& entry : entries_) {
    for (const auto* kept : {&entry.kept, &entry.kept_members, &entry.kept_hooks}) {
      for (const auto& object : *kept) Py_VISIT(object.ptr());
    }
  }
  return 0;
}

void ModuleRecord::clear() {
  entries_.clear();
}

void ReferenceCounts::settle() {
  settled_.clear();
  for (const auto& object : objects_) settled_.push_back(Py_REFCNT(object.ptr()));
}

bool ReferenceCounts::unreferenced() const {
  for (size_t i = 0; i < settled_.size(); ++i) {
    if (Py_REFCNT(objects_[i].ptr()) > settled_[i]) return false;
  }
  return true;
}

int ReferenceCounts::traverse(visitproc visit, void* arg) const {
  for (const auto& object : objects_) Py_VISIT(object.ptr());
  return 0;
}

}  // namespace storm::python
