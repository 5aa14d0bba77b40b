// The Python module: engine types under Python names, nothing else.
#include "bind.h"

NB_MODULE(_engine, m) {
  m.doc() = "The native engine: graphs, rules, matching, costs and the inner loops of search.";
  xflowrl::bind_graph(m);
  xflowrl::bind_builder(m);
  xflowrl::bind_rules(m);
  xflowrl::bind_search(m);
}
