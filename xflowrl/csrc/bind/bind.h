#pragma once

#include <nanobind/nanobind.h>

namespace xflowrl {

// A class whose objects are immutable, or shared on purpose: a copy is the object itself.
template <class T>
nanobind::class_<T> bind_shared(nanobind::module_& m, const char* name, const char* doc) {
  namespace nb = nanobind;
  return nb::class_<T>(m, name, doc)
      .def("__copy__", [](nb::object self) { return self; })
      .def("__deepcopy__", [](nb::object self, nb::object) { return self; }, nb::arg("memo"));
}

void bind_graph(nanobind::module_& m);
void bind_builder(nanobind::module_& m);
void bind_rules(nanobind::module_& m);
void bind_search(nanobind::module_& m);

}  // namespace xflowrl
