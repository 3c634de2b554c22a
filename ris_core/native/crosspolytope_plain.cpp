// The kernels in plain C++, for any CPU.
#include "crosspolytope_kernels.h"

namespace {

constexpr const char* kName = "plain";
constexpr int kWidth = 4;
typedef float Floats __attribute__((vector_size(16)));
typedef std::int32_t Ints __attribute__((vector_size(16)));

template <int H>
inline Floats partners(Floats v) {
  return Floats{v[0 ^ H], v[1 ^ H], v[2 ^ H], v[3 ^ H]};
}

inline unsigned less_mask(Floats a, Floats b) {
  const Ints is_less = a < b;
  return (is_less[0] & 1) | (is_less[1] & 2) | (is_less[2] & 4) | (is_less[3] & 8);
}

inline void add_lookups(const std::uint8_t* block, const std::uint8_t* lookups, int groups, int unit,
                        std::int32_t* scores) {
  for (int group = 0; group < groups; ++group) {
    const std::uint8_t* numbers = block + group * ris::kGroupBytes;
    const std::uint8_t* of_group = lookups + group * ris::kCentroids;
    for (int j = 0; j < ris::kGroupBytes; ++j) {
      scores[j] += unit * of_group[numbers[j] & 15];
      scores[ris::kGroupBytes + j] += unit * of_group[numbers[j] >> 4];
    }
  }
}

inline void score_block(const std::uint8_t* block, const ris::SketchQuery& query, std::int32_t* scores) {
  for (int j = 0; j < ris::kBlockPoints; ++j) scores[j] = 0;
  add_lookups(block, query.lookups, query.groups, 1, scores);
  add_lookups(block, query.high_lookups, query.wide, 256, scores);
}

}  // namespace

#include "crosspolytope_kernels.inc"

namespace ris {
const Kernels& kernels_plain() { return kKernels; }
}  // namespace ris
