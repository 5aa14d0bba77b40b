// The Python module: engine types under Python names, nothing else.
#include "bind/bind.h"

NB_MODULE(_engine, m) {
  m.doc() = "The native engine: graphs, rules, matching, costs and the inner loops of search.";
  // Objects that a script keeps until the interpreter ends are no leak worth a page of warnings.
  nanobind::set_leak_warnings(false);
  xflowrl::bind_graph(m);
  xflowrl::bind_builder(m);
  xflowrl::bind_rules(m);
  xflowrl::bind_cost(m);
  xflowrl::bind_egraph(m);
  xflowrl::bind_kinds(m);
  xflowrl::bind_state(m);
  xflowrl::bind_search(m);
}
