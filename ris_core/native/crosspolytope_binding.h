// Puts the engine crosspolytope into the Python module.
#pragma once

#include <nanobind/nanobind.h>

namespace ris {

void bind_crosspolytope(nanobind::module_& m);

}  // namespace ris
