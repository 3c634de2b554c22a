// What module.cpp needs of the FALCONN part.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>

namespace ris {

// The instruction sets (see instructions.h) that falconn_index.cpp is compiled for.
std::uint32_t falconn_compiled_for();

// Adds FalconnIndex and the free functions to the module.
void bind_falconn(nanobind::module_& m);

}  // namespace ris
