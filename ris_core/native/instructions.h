// Instruction sets beyond the x86-64 baseline that a file may have been compiled for.
#pragma once

#include <cstdint>
#include <string>

namespace ris {

enum Instructions : std::uint32_t {
  kAvx = 1u << 0,
  kAvx2 = 1u << 1,
  kFma = 1u << 2,
  kBmi2 = 1u << 3,
  kAvx512f = 1u << 4,
  kAvx512dq = 1u << 5,
  kAvx512bw = 1u << 6,
  kAvx512vl = 1u << 7,
};

// What the file that includes this header is compiled for. Internal linkage: each file must get its own answer.
static constexpr std::uint32_t kCompiledFor = 0
#ifdef __AVX__
                                              | kAvx
#endif
#ifdef __AVX2__
                                              | kAvx2
#endif
#ifdef __FMA__
                                              | kFma
#endif
#ifdef __BMI2__
                                              | kBmi2
#endif
#ifdef __AVX512F__
                                              | kAvx512f
#endif
#ifdef __AVX512DQ__
                                              | kAvx512dq
#endif
#ifdef __AVX512BW__
                                              | kAvx512bw
#endif
#ifdef __AVX512VL__
                                              | kAvx512vl
#endif
    ;

// Names of those in `wanted` that this CPU lacks, separated by blanks; empty when it has them all.
std::string missing_instructions(std::uint32_t wanted);

}  // namespace ris
