// The one file that includes FALCONN. It is compiled for the CPU that RIS_ARCH names, and instantiates all of
// FALCONN's tables: 2 families x 2 distances x 4 storages x 2 widths of hash, which takes most of the build's time.
#include "falconn_index.h"

#include <falconn/lsh_nn_table.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>
#include <mutex>
#include <stdexcept>

#include "falconn_nearest.h"
#include "instructions.h"
#include "parallel.h"

namespace ris {
namespace {

using Vector = falconn::DenseVector<float>;
using Points = falconn::PlainArrayPointSet<float>;
using Table = falconn::LSHNearestNeighborTable<Vector, std::int32_t>;
using Query = falconn::LSHNearestNeighborQuery<Vector, std::int32_t>;

using Euclidean = falconn::core::EuclideanDistanceDense<float>;
using NegativeProduct = falconn::core::CosineDistanceDense<float>;

template <typename Value>
struct Choice {
  const char* name;
  Value value;
};

constexpr Choice<falconn::LSHFamily> kFamilies[] = {{"cross_polytope", falconn::LSHFamily::CrossPolytope},
                                                    {"hyperplane", falconn::LSHFamily::Hyperplane}};
constexpr Choice<falconn::DistanceFunction> kDistances[] = {
    {"euclidean_squared", falconn::DistanceFunction::EuclideanSquared},
    {"negative_inner_product", falconn::DistanceFunction::NegativeInnerProduct}};
constexpr Choice<falconn::StorageHashTable> kStorages[] = {
    {"flat", falconn::StorageHashTable::FlatHashTable},
    {"bit_packed", falconn::StorageHashTable::BitPackedFlatHashTable},
    {"stl", falconn::StorageHashTable::STLHashTable},
    {"linear_probing", falconn::StorageHashTable::LinearProbingHashTable}};

template <typename Choices>
auto value_of(const Choices& choices, const std::string& name, const char* what) {
  std::string known;
  for (const auto& choice : choices) {
    if (name == choice.name) return choice.value;
    known += (known.empty() ? "" : ", ") + std::string(choice.name);
  }
  throw std::invalid_argument(std::string(what) + " is '" + name + "'; allowed: " + known);
}

template <typename Choices, typename Value>
std::string name_of(const Choices& choices, Value value) {
  for (const auto& choice : choices)
    if (choice.value == value) return choice.name;
  return "unknown";
}

falconn::LSHConstructionParameters to_falconn(const FalconnSettings& settings, std::int64_t dimension,
                                              std::int64_t threads) {
  falconn::LSHConstructionParameters parameters;
  parameters.dimension = dimension;
  parameters.lsh_family = value_of(kFamilies, settings.family, "family");
  parameters.distance_function = value_of(kDistances, settings.distance, "distance");
  parameters.storage_hash_table = value_of(kStorages, settings.storage, "storage");
  parameters.k = settings.hash_functions;
  parameters.l = settings.tables;
  parameters.last_cp_dimension = settings.last_cp_dimension;
  parameters.num_rotations = settings.rotations;
  parameters.feature_hashing_dimension = settings.feature_hashing_dimension;
  parameters.num_setup_threads = threads;
  parameters.seed = settings.seed;
  return parameters;
}

float squared_distance(const float* a, const float* b, std::int64_t dimension) {
  return (Eigen::Map<const Vector>(a, dimension) - Eigen::Map<const Vector>(b, dimension)).squaredNorm();
}

}  // namespace

std::uint32_t falconn_compiled_for() { return kCompiledFor; }

FalconnHashes falconn_hashes_for_bits(const std::string& family, std::int64_t dimension, std::int64_t bits) {
  falconn::LSHConstructionParameters parameters;
  parameters.lsh_family = value_of(kFamilies, family, "family");
  parameters.dimension = dimension;
  falconn::compute_number_of_hash_functions<Vector>(bits, &parameters);
  return {parameters.k, std::max<std::int64_t>(0, parameters.last_cp_dimension)};
}

FalconnSettings falconn_default_settings(std::int64_t n, std::int64_t dimension, const std::string& distance,
                                         bool is_dense) {
  const auto advised =
      falconn::get_default_parameters<Vector>(n, dimension, value_of(kDistances, distance, "distance"), is_dense);
  FalconnSettings settings;
  settings.family = name_of(kFamilies, advised.lsh_family);
  settings.distance = distance;
  settings.storage = name_of(kStorages, advised.storage_hash_table);
  settings.tables = advised.l;
  settings.hash_functions = advised.k;
  settings.last_cp_dimension = advised.last_cp_dimension;
  settings.rotations = advised.num_rotations;
  settings.feature_hashing_dimension = advised.feature_hashing_dimension;
  settings.seed = advised.seed;
  return settings;
}

// What one thread searches with: FALCONN's query object, which holds marks of seen points and rotated copies of the
// query, and the memory of our own loop. Costly to make (4 bytes a point), hence kept and lent.
struct Searcher {
  std::unique_ptr<Query> query;
  Vector vector;  // FALCONN takes no view: the query is copied, as its own wrapper does
  Candidates candidates;
  NearestHeap heap;
  double distance_s = 0;  // spent in our loop since the last reset
};

struct FalconnIndex::Tables {
  std::unique_ptr<Table> table;
  mutable std::mutex mutex;
  mutable std::vector<std::unique_ptr<Searcher>> idle;

  std::unique_ptr<Searcher> borrow(const FalconnProbing& probing) const {
    std::unique_ptr<Searcher> searcher;
    {
      const std::lock_guard<std::mutex> lock(mutex);
      if (!idle.empty()) {
        searcher = std::move(idle.back());
        idle.pop_back();
      }
    }
    if (!searcher) {
      searcher = std::make_unique<Searcher>();
      searcher->query = table->construct_query_object(probing.probes, probing.max_candidates);
    }
    searcher->query->set_num_probes(probing.probes);
    searcher->query->set_max_num_candidates(probing.max_candidates);
    return searcher;
  }

  void give_back(std::unique_ptr<Searcher> searcher) const {
    const std::lock_guard<std::mutex> lock(mutex);
    idle.push_back(std::move(searcher));
  }
};

FalconnIndex::FalconnIndex(const float* base, std::int64_t n, std::int64_t dimension, const FalconnSettings& settings,
                           std::int64_t threads)
    : base_(base),
      n_(n),
      dimension_(dimension),
      tables_(settings.tables),
      distance_(settings.distance),
      falconn_(std::make_unique<Tables>()) {
  Points points;  // read while the tables are set up only; the tables keep the pointer to the data
  points.data = base;
  points.num_points = n;
  points.dimension = dimension;
  auto parameters = to_falconn(settings, dimension, threads);
  // The bit-packed table gives a single point zero bits, and then reads memory that it never took.
  if (n == 1) parameters.storage_hash_table = falconn::StorageHashTable::FlatHashTable;
  falconn_->table = falconn::construct_table<Vector, std::int32_t, Points>(points, parameters);
}

FalconnIndex::~FalconnIndex() = default;

// Calls work(searcher, number of the query) for every query, which it finds in the searcher, shared among the threads.
template <typename Work>
void FalconnIndex::for_each_query(const float* queries, std::int64_t q, const FalconnProbing& probing,
                                  Work work) const {
  std::atomic<std::int64_t> next{0};
  const auto run = [&] {
    std::unique_ptr<Searcher> searcher = falconn_->borrow(probing);
    for (std::int64_t i; (i = next.fetch_add(1)) < q;) {
      searcher->vector = Eigen::Map<const Vector>(queries + i * dimension_, dimension_);
      work(*searcher, i);
    }
    falconn_->give_back(std::move(searcher));
  };
  on_threads(std::min(probing.threads, q), run, [&] { next = q; });
}

void FalconnIndex::search(const float* queries, std::int64_t q, std::int64_t k, const FalconnProbing& probing,
                          std::int64_t* rows, float* distances) const {
  const bool is_euclidean = distance_ == "euclidean_squared";
  for_each_query(queries, q, probing, [&](Searcher& s, std::int64_t i) {
    s.query->get_unique_candidates(s.vector, &s.candidates);
    const auto start = std::chrono::steady_clock::now();
    const std::int64_t count = is_euclidean ? find_nearest<Euclidean>(s.vector, base_, s.candidates, k, s.heap)
                                            : find_nearest<NegativeProduct>(s.vector, base_, s.candidates, k, s.heap);
    s.distance_s += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    for (std::int64_t j = 0; j < count; ++j) {
      const auto& found = s.heap.get_data()[count - 1 - j];
      const float* point = base_ + std::int64_t{found.data} * dimension_;
      rows[i * k + j] = found.data;
      distances[i * k + j] = is_euclidean ? -found.key : squared_distance(s.vector.data(), point, dimension_);
    }
    std::fill(rows + i * k + count, rows + (i + 1) * k, -1);  // there may be fewer candidates than k
    std::fill(distances + i * k + count, distances + (i + 1) * k, std::numeric_limits<float>::infinity());
  });
}

namespace {

RaggedRows join(const std::vector<std::vector<std::int32_t>>& lists) {
  RaggedRows all;
  all.offsets.reserve(lists.size() + 1);
  all.offsets.push_back(0);
  for (const auto& list : lists) all.offsets.push_back(all.offsets.back() + static_cast<std::int64_t>(list.size()));
  all.rows.reserve(all.offsets.back());
  for (const auto& list : lists) all.rows.insert(all.rows.end(), list.begin(), list.end());
  return all;
}

}  // namespace

RaggedRows FalconnIndex::near(const float* queries, std::int64_t q, float threshold,
                              const FalconnProbing& probing) const {
  std::vector<std::vector<std::int32_t>> lists(q);
  for_each_query(queries, q, probing, [&](Searcher& s, std::int64_t i) {
    s.query->find_near_neighbors(s.vector, threshold, &lists[i]);
  });
  return join(lists);
}

RaggedRows FalconnIndex::candidates(const float* queries, std::int64_t q, bool is_unique,
                                    const FalconnProbing& probing) const {
  std::vector<std::vector<std::int32_t>> lists(q);
  for_each_query(queries, q, probing, [&](Searcher& s, std::int64_t i) {
    if (is_unique) {
      s.query->get_unique_candidates(s.vector, &lists[i]);
    } else {
      s.query->get_candidates_with_duplicates(s.vector, &lists[i]);
    }
  });
  return join(lists);
}

FalconnStatistics FalconnIndex::statistics() const {
  const std::lock_guard<std::mutex> lock(falconn_->mutex);
  falconn::QueryStatistics sum;
  for (const auto& searcher : falconn_->idle) {
    falconn::QueryStatistics of_one = searcher->query->get_query_statistics();
    of_one.convert_to_totals();
    of_one.average_distance_time += searcher->distance_s;  // FALCONN does not see our loop
    of_one.average_total_query_time += searcher->distance_s;
    sum.add_totals(of_one);
  }
  sum.compute_averages();
  return {sum.average_total_query_time, sum.average_lsh_time,       sum.average_hash_table_time,
          sum.average_distance_time,    sum.average_num_candidates, sum.average_num_unique_candidates,
          sum.num_queries};
}

void FalconnIndex::reset_statistics() {
  const std::lock_guard<std::mutex> lock(falconn_->mutex);
  for (auto& searcher : falconn_->idle) {
    searcher->query->reset_query_statistics();
    searcher->distance_s = 0;
  }
}

}  // namespace ris
