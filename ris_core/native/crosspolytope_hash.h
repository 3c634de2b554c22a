// Hash functions: pseudo-random rotations, and which coordinates of the rotated vector each function reads.
//
// A rotation is v -> H D v: D flips signs at random, H is the Hadamard matrix, computed in size * log2(size) steps
// and scaled to keep lengths. A vector is filled up by zeros to a power of two, rotated once, and then `rotations`
// times more for each further rotated copy of it.
//
// A hash function of dimension m says which of the 2m vertices of the cross-polytope, +-e_1 to +-e_m, is nearest to
// m coordinates of one copy. A table's code strings log2(m) + 1 bits of each of its functions together. The family
// "cross_polytope" has functions of all coordinates, each of a copy of its own, and a last one of so few that the
// code has the wanted number of bits. The family "hyperplane" has functions of one coordinate: its sign. Coordinates
// of one copy are orthogonal to each other, so these are hyperplanes of super-bit LSH (Ji et al. 2012).
//
// The signs are bits of splitmix64: bit b of word w, counted from the lowest, is that of the flip 64 w + b, where
// word w is the generator's output w + 1 for the seed; a set bit flips. Flip r * size + i is coordinate i's in
// rotation r.
#pragma once

#include <cstdint>
#include <vector>

#include "crosspolytope_kernels.h"

namespace ris {

constexpr std::int64_t kMaxRotated = std::int64_t{1} << 28;  // copies x (rotations + 1) x size: 1 GiB

struct HashSettings {
  bool is_hyperplane = false;
  std::int64_t dimension = 0;  // of the vectors that are hashed
  int tables = 0;
  int bits = 0;
  int rotations = 1;
  std::uint64_t seed = 0;
};

class HashFunctions {
 public:
  struct Function {
    std::int64_t first;  // coordinate among all copies
    int dimension;       // m, a power of two
    int bits;            // log2(m) + 1
  };

  // Throws std::invalid_argument if rotations and one query's rotated copies would take more than kMaxRotated values.
  HashFunctions(const HashSettings& settings, const Kernels& kernels);

  int size() const { return size_; }        // of a rotated vector
  int copies() const { return copies_; }
  int per_table() const { return per_table_; }
  std::int64_t size_bytes() const { return signs_.size() * sizeof(float); }
  const HashSettings& settings() const { return settings_; }
  const Function& function(int table, int number) const { return functions_[table * per_table_ + number]; }

  // The codes of a vector, one a table. `vector`, filled up to size() elements, is overwritten.
  void codes(float* vector, std::uint32_t* codes) const;

  // All rotated copies of a vector, for the probing sequence: copies() times size(). `vector` as above.
  void rotate_copies(float* vector, float* copies) const;

 private:
  void rotate(float* vector, int& rotation) const;

  HashSettings settings_;
  const Kernels& kernels_;
  int size_ = 0;
  int per_table_ = 0;
  int copies_ = 0;
  std::vector<Function> functions_;
  std::vector<float> signs_;  // +-1 / sqrt(size)
};

// The number of a function's vertex within its code: the coordinate, or m + the coordinate where it is negative.
inline std::uint32_t vertex(int coordinate, bool is_negative, int dimension) {
  return coordinate + (is_negative ? dimension : 0);
}

}  // namespace ris
