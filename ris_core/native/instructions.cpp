// Asks the CPU. Compiled for the baseline, so that it can run anywhere.
#include "instructions.h"

namespace ris {

std::string missing_instructions(std::uint32_t wanted) {
  std::string missing;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const auto check = [&](std::uint32_t set, bool is_there, const char* name) {
    if ((wanted & set) != 0 && !is_there) missing += (missing.empty() ? "" : " ") + std::string(name);
  };
  // The builtin takes literals only, hence no table.
  check(kAvx, __builtin_cpu_supports("avx"), "avx");
  check(kAvx2, __builtin_cpu_supports("avx2"), "avx2");
  check(kFma, __builtin_cpu_supports("fma"), "fma");
  check(kBmi2, __builtin_cpu_supports("bmi2"), "bmi2");
  check(kAvx512f, __builtin_cpu_supports("avx512f"), "avx512f");
  check(kAvx512dq, __builtin_cpu_supports("avx512dq"), "avx512dq");
  check(kAvx512bw, __builtin_cpu_supports("avx512bw"), "avx512bw");
  check(kAvx512vl, __builtin_cpu_supports("avx512vl"), "avx512vl");
#else
  (void)wanted;  // all of the sets above belong to x86-64
#endif
  return missing;
}

}  // namespace ris
