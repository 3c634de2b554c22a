// What one thread needs to search. Costly to make (a byte a point), hence kept by the index and lent.
#pragma once

#include <cstdint>
#include <vector>

#include "crosspolytope_index.h"
#include "crosspolytope_sketch.h"

namespace ris {

// Remembers rows seen since the last clear(), which takes no time but every 255th time.
class SeenRows {
 public:
  explicit SeenRows(std::int64_t n) : epochs_(n, 0) {}

  void clear() {
    if (++epoch_ != 0) return;
    epochs_.assign(epochs_.size(), 0);
    epoch_ = 1;
  }
  bool is_new(std::uint32_t row) {
    const bool is_new = epochs_[row] != epoch_;
    epochs_[row] = epoch_;
    return is_new;
  }

 private:
  std::vector<std::uint8_t> epochs_;
  std::uint8_t epoch_ = 0;
};

// Rows by a value, compared as one whole number each: the value's bits, ordered, above the row.
using RankedRow = std::uint64_t;

inline RankedRow ranked(float value, std::uint32_t row) {
  std::uint32_t bits;
  static_assert(sizeof bits == sizeof value);
  __builtin_memcpy(&bits, &value, sizeof bits);
  bits ^= (bits >> 31) != 0 ? 0xffffffffu : 0x80000000u;
  return std::uint64_t{bits} << 32 | row;
}

inline std::uint32_t row_of(RankedRow ranked) { return static_cast<std::uint32_t>(ranked); }

inline float value_of(RankedRow ranked) {
  std::uint32_t bits = static_cast<std::uint32_t>(ranked >> 32);
  bits ^= (bits >> 31) != 0 ? 0x80000000u : 0xffffffffu;
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

// A probed bucket that is not empty: positions begin to end - 1 of a table.
struct Range {
  const Table* table;
  std::uint32_t begin, end;
};

// A vector on its way to a hash and a sketch.
struct CrosspolytopeIndex::Projected {
  Projected(const ImageHeader& header, const HashFunctions& functions)
      : lifted(lifted_dimension(header)), coordinates(header.coordinates), padded(functions.size()) {}

  std::vector<float> lifted;       // with the coordinate that inner products append
  std::vector<float> coordinates;  // along the principal axes
  std::vector<float> left;         // of the coordinates by a sketch
  std::vector<float> padded;       // what is hashed, filled up by zeros; overwritten by it
};

struct CrosspolytopeIndex::Scratch {
  Scratch(const ImageHeader& header, const HashFunctions& functions, const Kernels& kernels)
      : sequence(functions, kernels), seen(header.tables > 1 ? header.n : 0), projected(header, functions),
        copies(static_cast<std::size_t>(functions.copies()) * functions.size()) {}

  ProbingSequence sequence;
  SeenRows seen;
  Projected projected;
  std::vector<float> copies;
  std::vector<Range> ranges;
  QueryLookups lookups;
  std::vector<std::uint32_t> positions;  // of one scan, and their estimates
  std::vector<float> estimates;
  std::vector<std::uint32_t> best_rows;  // the best so far and some more, and their estimates
  std::vector<float> best_estimates;
  std::vector<std::uint32_t> rows;       // candidates to be scored exactly
  std::vector<RankedRow> ranked;
};

}  // namespace ris
