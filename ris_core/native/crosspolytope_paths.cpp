// Asks the CPU. Compiled for the baseline, so that it can run anywhere.
#include "crosspolytope_paths.h"

#include <stdexcept>

namespace ris {
namespace {

std::vector<const Kernels*> usable_kernels() {
  std::vector<const Kernels*> usable;
#if defined(__x86_64__)
  __builtin_cpu_init();
#ifdef RIS_EMULATE_AVX512
  usable.push_back(&kernels_avx512());
#else
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    usable.push_back(&kernels_avx512());
#endif
  if (__builtin_cpu_supports("avx2")) usable.push_back(&kernels_avx2());
#endif
  usable.push_back(&kernels_plain());
  return usable;
}

}  // namespace

std::vector<std::string> kernel_names() {
  std::vector<std::string> names;
  for (const Kernels* kernels : usable_kernels()) names.emplace_back(kernels->name);
  return names;
}

const Kernels& choose_kernels(const std::string& name) {
  std::string known;
  for (const Kernels* kernels : usable_kernels()) {
    if (name.empty() || name == kernels->name) return *kernels;
    known += (known.empty() ? "" : ", ") + std::string(kernels->name);
  }
  throw std::invalid_argument("path is '" + name + "'; this CPU runs: " + known);
}

}  // namespace ris
