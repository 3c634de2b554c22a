// Sketches: four bits for each group of principal coordinates, compared with a query that keeps its values.
//
// A product quantiser: coordinates are cut into groups, and each group is rounded to the nearest of 16 centroids. For
// x rounded to c, the product with a query q is about |x|^2 / <x, c> * <c, q>. The products of q with all centroids
// are computed once, rounded to 0 to 255, and looked up for 32 points at a time.
//
// Source: Jegou, Douze, Schmid 2011, Product Quantization for Nearest Neighbor Search (the codes); Andre, Kermarrec,
// Le Scouarnec 2015, Cache Locality Is Not Enough (look-ups in registers); Gao, Long 2024, RaBitQ, arXiv:2405.12497
// (the factor). Differs: bits follow the variances of the coordinates.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "crosspolytope_image.h"
#include "crosspolytope_kernels.h"

namespace ris {

// Members of at most `groups` groups, (found groups, kMaxWidth): four bits a group are given out one by one, each to
// the coordinate with the most variance left, of which it takes three quarters. More than four of a coordinate, up to
// eight, are split: a second group rounds what the first left of it. Coordinates are packed into groups by falling
// number of bits, each into the first group with room.
std::vector<std::uint32_t> group_members(const float* variances, int coordinates, int groups);

// Centroids of each group by Lloyd's rounds over `count` sampled points of `coordinates` values each; they begin at
// even quantiles of the group's first coordinate. Each point's centroid is taken off it before the next group.
// `centroids` is (groups, kMaxWidth, 16), zero before.
void train_centroids(float* points, std::int64_t count, int coordinates, const Codebook& codebook,
                     float* centroids);

// Product of a point's coordinates with the centroids that stand for them.
float product_with_code(const Codebook& codebook, const float* coordinates, const std::uint8_t* nearest);

// offset + scale * (code times query) estimates what candidates are ranked by, up to a term of the query alone.
struct SketchFactors {
  float offset;
  float scale;
};
SketchFactors sketch_factors(Distance distance, float squared_norm, float product_with_code);

// Puts the centroids' numbers of a block's point into the block (zero before).
void write_sketch(const std::uint8_t* nearest, int groups, int point, std::uint8_t* block);
// The reverse.
void read_sketch(const std::uint8_t* block, int groups, int point, std::uint8_t* nearest);

// The look-up tables of a query, made from its principal coordinates.
class QueryLookups {
 public:
  void prepare(const Codebook& codebook, const float* coordinates);
  SketchQuery view() const {
    return {lookups_.data(), high_lookups_.data(), groups_, std::min(groups_, kWideGroups), step_, base_};
  }

 private:
  std::vector<float> products_;
  std::vector<std::uint8_t> lookups_, high_lookups_;
  int groups_ = 0;
  float step_ = 0;
  float base_ = 0;
};

}  // namespace ris
