// The kernels for AVX2. CMakeLists.txt compiles this file, and no other, with -mavx2.
#include "crosspolytope_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

namespace {

constexpr const char* kName = "avx2";
constexpr int kWidth = 8;
typedef float Floats __attribute__((vector_size(32)));
typedef std::int32_t Ints __attribute__((vector_size(32)));

template <int H>
inline Floats partners(Floats v) {
  if constexpr (H == 1) return _mm256_permute_ps(v, 0xB1);
  if constexpr (H == 2) return _mm256_permute_ps(v, 0x4E);
  return _mm256_permute2f128_ps(v, v, 1);
}

inline unsigned less_mask(Floats a, Floats b) { return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_LT_OQ)); }

inline __m256i load_bytes(const std::uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

// Sums of bytes as 16 bit numbers. `pairs` takes each pair of bytes as one number, `odd` the odd bytes alone; what the
// odd ones add to `pairs` is taken off at the end. The two halves of a vector belong to different groups.
struct ByteSums {
  __m256i pairs = _mm256_setzero_si256(), odd = _mm256_setzero_si256();

  void add(__m256i bytes) {
    pairs = _mm256_add_epi16(pairs, bytes);
    odd = _mm256_add_epi16(odd, _mm256_srli_epi16(bytes, 8));
  }

  void store(std::int32_t* sums) const {  // of 16 points, in their order
    const __m256i even = _mm256_sub_epi16(pairs, _mm256_slli_epi16(odd, 8));
    const __m128i e = _mm_add_epi16(_mm256_castsi256_si128(even), _mm256_extracti128_si256(even, 1));
    const __m128i o = _mm_add_epi16(_mm256_castsi256_si128(odd), _mm256_extracti128_si256(odd, 1));
    const __m256i lower = _mm256_cvtepu16_epi32(_mm_unpacklo_epi16(e, o));
    const __m256i upper = _mm256_cvtepu16_epi32(_mm_unpackhi_epi16(e, o));
    _mm256_store_si256(reinterpret_cast<__m256i*>(sums), lower);
    _mm256_store_si256(reinterpret_cast<__m256i*>(sums + 8), upper);
  }
};

// Sums of the look-ups of some groups, for a block's 32 points.
inline void sum_lookups(const std::uint8_t* block, const std::uint8_t* lookups, int groups, std::int32_t* scores) {
  const __m256i low_half = _mm256_set1_epi8(15);
  ByteSums first, second;  // points 0 to 15 and 16 to 31
  for (int group = 0; group < groups; group += 2) {
    const __m256i numbers = load_bytes(block + group * ris::kGroupBytes);
    const __m256i table = load_bytes(lookups + group * ris::kCentroids);
    first.add(_mm256_shuffle_epi8(table, _mm256_and_si256(numbers, low_half)));
    second.add(_mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(numbers, 4), low_half)));
  }
  first.store(scores);
  second.store(scores + 16);
}

inline void score_block(const std::uint8_t* block, const ris::SketchQuery& query, std::int32_t* scores) {
  alignas(32) std::int32_t high[ris::kBlockPoints];
  sum_lookups(block, query.lookups, query.groups, scores);
  sum_lookups(block, query.high_lookups, query.wide, high);
  for (int i = 0; i < ris::kBlockPoints; ++i) scores[i] += 256 * high[i];
}

}  // namespace

#include "crosspolytope_kernels.inc"

namespace ris {
const Kernels& kernels_avx2() { return kKernels; }
}  // namespace ris
#endif
