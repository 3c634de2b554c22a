// The probing sequence: which buckets, over all tables, a query's neighbours most likely lie in.
//
// A bucket is one vertex for each of its table's functions. A vertex costs the squared gap between the query's product
// with it and with the function's nearest vertex, and a bucket the sum of its vertices' costs, in units of the
// squared length of the query (1 for cosines). The sequence goes by rising cost; equal ones by table and code.
//
// Source: Andoni et al. 2015, arXiv:1509.02897, section 5, multiprobe; Lv et al. 2007, Multi-Probe LSH. Differs: no
// heap. The cost of the last wanted bucket is found by bisection, counting buckets at most that dear in sorted lists
// of half a code each; then they are listed.
#pragma once

#include <cstdint>
#include <vector>

#include "crosspolytope_hash.h"

namespace ris {

struct Probe {
  float cost;
  std::uint32_t table;
  std::uint32_t code;

  bool operator<(const Probe& other) const {
    if (cost != other.cost) return cost < other.cost;
    return table != other.table ? table < other.table : code < other.code;
  }
};

class ProbingSequence {
 public:
  // Both must outlive it. One object serves one thread.
  ProbingSequence(const HashFunctions& functions, const Kernels& kernels);

  // The first `count` probes, or all buckets if there are fewer, by table and code: so they lie in memory. `copies`
  // are a query's rotated copies and `length` is its norm.
  const std::vector<Probe>& find(const float* copies, float length, std::int64_t count);

 private:
  struct Choice {
    float cost;
    std::uint32_t code;
    bool operator<(const Choice& other) const { return cost != other.cost ? cost < other.cost : code < other.code; }
  };
  // The cheapest choices of part of a code, by rising cost; complete up to `bound`.
  struct Choices {
    std::vector<Choice> sorted;
    float bound = 0;
    int bits = 0;
  };
  // A table's code in two parts.
  struct Halves {
    Choices high, low;
  };

  void list_choices(const float* copies, float inverse_length, std::size_t wanted);
  void list_vertices(const HashFunctions::Function& function, const float* copies, float inverse_length,
                     std::size_t wanted, Choices& choices);
  void combine(Choices& high, const Choices& low, std::size_t wanted);
  std::int64_t count_up_to(float cost, std::int64_t enough) const;
  float cost_of_last(float highest, std::int64_t count) const;
  void list_up_to(float cost);
  void keep_cheapest(std::int64_t count);

  const HashFunctions& functions_;
  const Kernels& kernels_;
  std::vector<Halves> tables_;
  Choices part_;                         // scratch
  std::vector<Choice> combined_;         // scratch
  std::vector<std::uint32_t> selected_;  // scratch
  std::vector<Choice> high_, low_;       // scratch
  std::vector<float> costs_;             // scratch
  std::vector<Probe> probes_;
};

}  // namespace ris
