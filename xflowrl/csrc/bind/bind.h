#pragma once

#include <nanobind/nanobind.h>

#include "pickle/pickling.h"

namespace xflowrl {

// A class whose objects are immutable, or shared on purpose: a copy is the object itself.
template <class T>
nanobind::class_<T> bind_shared(nanobind::module_& m, const char* name, const char* doc) {
  namespace nb = nanobind;
  return nb::class_<T>(m, name, doc)
      .def("__copy__", [](nb::object self) { return self; })
      .def("__deepcopy__", [](nb::object self, nb::object) { return self; }, nb::arg("memo"));
}

// The same, and pickled as bytes; damaged ones raise ValueError.
template <class T>
nanobind::class_<T> bind_pickled(nanobind::module_& m, const char* name, const char* doc) {
  namespace nb = nanobind;
  return bind_shared<T>(m, name, doc)
      .def("__getstate__",
           [](const T& self) {
             const std::string bytes = to_bytes(self);
             return nb::bytes(bytes.data(), bytes.size());
           })
      .def("__setstate__", [](T* self, const nb::bytes& state) {
        new (self) T(from_bytes<T>({state.c_str(), state.size()}));
      });
}

void bind_graph(nanobind::module_& m);
void bind_builder(nanobind::module_& m);
void bind_rules(nanobind::module_& m);
void bind_cost(nanobind::module_& m);
void bind_state(nanobind::module_& m);
void bind_search(nanobind::module_& m);
void bind_egraph(nanobind::module_& m);
void bind_kinds(nanobind::module_& m);

}  // namespace xflowrl
