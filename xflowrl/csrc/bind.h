#pragma once

#include <nanobind/nanobind.h>

namespace xflowrl {

void bind_graph(nanobind::module_& m);
void bind_rules(nanobind::module_& m);
void bind_search(nanobind::module_& m);

}  // namespace xflowrl
