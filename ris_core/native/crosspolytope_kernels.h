// The loops that take the time, compiled three times for different instructions and chosen at run time.
//
// All three give the same bits: sums are taken in one order (32 partial sums, then by halves), no multiplication is
// fused with an addition, and sketches are scored by whole numbers. So an index built on one CPU serves on another.
#pragma once

#include <cstdint>

namespace ris {

constexpr int kBlockPoints = 32;   // points whose sketches are scored together
constexpr int kCentroids = 16;     // of a group of coordinates: a sketch holds four bits for each group
constexpr int kMaxWidth = 4;       // coordinates in a group: each has at least one of its bits
constexpr int kGroupBytes = 16;    // of one group in a block: four bits for each of its 32 points
constexpr int kGroupsAtOnce = 4;   // that the widest kernels look up: groups are padded to a multiple

constexpr std::uint32_t kNoMember = 0xffffffff;

// How principal coordinates are cut into groups and each group is rounded to one of 16 centroids.
struct Codebook {
  const std::uint32_t* members;  // (groups, kMaxWidth) numbers of coordinates; kNoMember where there are fewer
  const float* centroids;        // (groups, kMaxWidth, 16)
  int groups;
};

// One table's sketches in bucket order. A block holds 16 bytes for each group; byte j holds the centroid's number of
// point j in its lower half and that of point 16 + j in its upper half.
struct SketchColumns {
  const std::uint8_t* blocks;
  const float* offsets;  // a point's estimate is offset + scale * (its sketch times the query)
  const float* scales;
};

// The query's side: its product with each centroid, as small whole numbers. Those of the first groups, which hold the
// coordinates of the largest variance, have a high byte too.
constexpr int kWideGroups = 8;
struct SketchQuery {
  const std::uint8_t* lookups;       // 16 a group
  const std::uint8_t* high_lookups;  // 16 for each of the first `wide` groups
  int groups;
  int wide;  // a multiple of kGroupsAtOnce
  float step;  // sketch times query = step * (sum of look-ups) + base
  float base;
};

struct Kernels {
  const char* name;

  // v := H (signs * v), H being the Hadamard matrix of `size`, a power of two of at least 16.
  void (*rotate)(float* v, const float* signs, int size);
  // Index of the largest |v|, the first of equal ones.
  int (*argmax_abs)(const float* v, int size);
  // Indices with |v| >= threshold, ascending; returns how many.
  int (*select_abs)(const float* v, int size, float threshold, std::uint32_t* indices);
  float (*dot)(const float* a, const float* b, std::int64_t size);
  float (*squared_distance)(const float* a, const float* b, std::int64_t size);
  // Products of a vector with `count` rows of a matrix.
  void (*project)(const float* matrix, int count, const float* vector, std::int64_t size, float* products);
  // The nearest centroid of each group, one after the other; each is taken off the coordinates.
  void (*encode)(const Codebook& codebook, float* coordinates, std::uint8_t* nearest);
  // Positions begin to end - 1 whose estimate is below the limit, ascending, and their estimates; returns how many.
  // Both outputs need room for end - begin + kBlockPoints.
  int (*scan)(const SketchColumns& points, const SketchQuery& query, std::int64_t begin, std::int64_t end,
              float limit, std::uint32_t* positions, float* estimates);
  // The smallest and the largest of at least one value.
  void (*range_of)(const float* values, std::int64_t count, float* least, float* most);
  // How many values are below the limit.
  std::int64_t (*count_below)(const float* values, std::int64_t count, float limit);
};

const Kernels& kernels_plain();
#if defined(__x86_64__)
const Kernels& kernels_avx2();
const Kernels& kernels_avx512();
#endif

}  // namespace ris
