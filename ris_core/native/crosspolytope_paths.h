// Which of the compiled kernels this CPU can run.
#pragma once

#include <string>
#include <vector>

#include "crosspolytope_kernels.h"

namespace ris {

// Names of the kernels that this CPU can run, the fastest first; "plain" is always among them.
std::vector<std::string> kernel_names();

// By name, or the fastest for an empty one. Throws std::invalid_argument for a name that this CPU cannot run.
const Kernels& choose_kernels(const std::string& name);

}  // namespace ris
