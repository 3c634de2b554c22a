// The kernels for AVX-512 (F, BW, DQ, VL). CMakeLists.txt compiles this file, and no other, with those instructions.
#include "crosspolytope_kernels.h"

#if defined(__x86_64__)
#ifdef RIS_EMULATE_AVX512  // tests on a CPU without it: see the end of CMakeLists.txt
#include <simde/x86/avx512.h>
#undef _mm512_shuffle_f32x4
#define _mm512_shuffle_f32x4 simde_mm512_shuffle_f32x4  // SIMDe has no alias for it
#else
#include <immintrin.h>
#endif

namespace {

constexpr const char* kName = "avx512";
constexpr int kWidth = 16;
typedef float Floats __attribute__((vector_size(64)));
typedef std::int32_t Ints __attribute__((vector_size(64)));

template <int H>
inline Floats partners(Floats v) {
  const __m512 lanes = (__m512)v;
  if constexpr (H == 1) return (Floats)_mm512_shuffle_ps(lanes, lanes, 0xB1);
  if constexpr (H == 2) return (Floats)_mm512_shuffle_ps(lanes, lanes, 0x4E);
  if constexpr (H == 4) return (Floats)_mm512_shuffle_f32x4(lanes, lanes, 0xB1);
  return (Floats)_mm512_shuffle_f32x4(lanes, lanes, 0x4E);
}

inline unsigned less_mask(Floats a, Floats b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ); }

inline __m512i load_bytes(const std::uint8_t* p) { return _mm512_loadu_si512(p); }

// Sums of bytes as 16 bit numbers. `pairs` takes each pair of bytes as one number, `odd` the odd bytes alone; what the
// odd ones add to `pairs` is taken off at the end. The four quarters of a vector belong to different groups.
struct ByteSums {
  __m512i pairs = _mm512_setzero_si512(), odd = _mm512_setzero_si512();

  void add(__m512i bytes) {
    pairs = _mm512_add_epi16(pairs, bytes);
    odd = _mm512_add_epi16(odd, _mm512_srli_epi16(bytes, 8));
  }

  static __m128i sum_of_quarters(__m512i sums) {
    const __m256i halves = _mm256_add_epi16(_mm512_castsi512_si256(sums), _mm512_extracti64x4_epi64(sums, 1));
    return _mm_add_epi16(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
  }

  void store(std::int32_t* sums) const {  // of 16 points, in their order
    const __m128i e = sum_of_quarters(_mm512_sub_epi16(pairs, _mm512_slli_epi16(odd, 8)));
    const __m128i o = sum_of_quarters(odd);
    const __m256i lower = _mm256_cvtepu16_epi32(_mm_unpacklo_epi16(e, o));
    const __m256i upper = _mm256_cvtepu16_epi32(_mm_unpackhi_epi16(e, o));
    _mm256_store_si256(reinterpret_cast<__m256i*>(sums), lower);
    _mm256_store_si256(reinterpret_cast<__m256i*>(sums + 8), upper);
  }
};

// Sums of the look-ups of some groups, for a block's 32 points.
inline void sum_lookups(const std::uint8_t* block, const std::uint8_t* lookups, int groups, std::int32_t* scores) {
  const __m512i low_half = _mm512_set1_epi8(15);
  ByteSums first, second;  // points 0 to 15 and 16 to 31
  for (int group = 0; group < groups; group += 4) {
    const __m512i numbers = load_bytes(block + group * ris::kGroupBytes);
    const __m512i table = load_bytes(lookups + group * ris::kCentroids);
    first.add(_mm512_shuffle_epi8(table, _mm512_and_si512(numbers, low_half)));
    second.add(_mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(numbers, 4), low_half)));
  }
  first.store(scores);
  second.store(scores + 16);
}

inline void score_block(const std::uint8_t* block, const ris::SketchQuery& query, std::int32_t* scores) {
  alignas(64) std::int32_t high[ris::kBlockPoints];
  sum_lookups(block, query.lookups, query.groups, scores);
  sum_lookups(block, query.high_lookups, query.wide, high);
  for (int i = 0; i < ris::kBlockPoints; ++i) scores[i] += 256 * high[i];
}

}  // namespace

#include "crosspolytope_kernels.inc"

namespace ris {
const Kernels& kernels_avx512() { return kKernels; }
}  // namespace ris
#endif
