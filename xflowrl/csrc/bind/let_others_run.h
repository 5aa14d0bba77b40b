#pragma once

#include <nanobind/nanobind.h>

#include <optional>

#include "search/state.h"

namespace xflowrl {

// Lets other threads run, unless the costs are measured: their table notes what it is asked for,
// and the interpreter's lock is what keeps the others off it.
class LetOthersRun {
 public:
  explicit LetOthersRun(const State& state) {
    if (state.setting().costs->is_formula()) release_.emplace();
  }

 private:
  std::optional<nanobind::gil_scoped_release> release_;
};

}  // namespace xflowrl
