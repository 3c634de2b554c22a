// The Python module ris_core.native._native: what it was built with, and the engines that this CPU can run.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include "crosspolytope_binding.h"
#include "falconn_binding.h"
#include "instructions.h"

NB_MODULE(_native, m) {
  m.doc() = "Compiled engines. Arrays are checked for what memory safety needs; ris_core.engines checks the rest.";
  m.attr("arch") = RIS_ARCH;
  ris::bind_crosspolytope(m);
#ifdef RIS_WITH_FALCONN
  const std::string missing = ris::missing_instructions(ris::falconn_compiled_for());
  m.attr("has_falconn") = true;
  m.attr("missing_instructions") = missing;
  // Even registering the class runs code of the file that is compiled for a certain CPU.
  if (missing.empty()) ris::bind_falconn(m);
#else
  m.attr("has_falconn") = false;
  m.attr("missing_instructions") = "";
#endif
}
