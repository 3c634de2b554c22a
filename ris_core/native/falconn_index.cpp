// The one file that includes FALCONN. It is compiled for the CPU that RIS_ARCH names, and instantiates all of
// FALCONN's tables: 2 families x 2 distances x 4 storages x 2 widths of hash, which takes most of the build's time.
#include "falconn_index.h"

#include <falconn/lsh_nn_table.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <limits>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <thread>

#include "instructions.h"

namespace ris {
namespace {

using Vector = falconn::DenseVector<float>;
using Points = falconn::PlainArrayPointSet<float>;
using Table = falconn::LSHNearestNeighborTable<Vector, std::int32_t>;
using Query = falconn::LSHNearestNeighborQuery<Vector, std::int32_t>;

constexpr std::int64_t kQueriesAtOnce = 16;  // taken by a thread at a time: few enough to share the last ones evenly

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

// FALCONN's query objects hold scratch memory (marks of seen points, rotated copies of the query), so each may serve
// one thread at a time. They are costly to make (4 bytes a point), hence kept and lent.
struct FalconnIndex::Tables {
  std::unique_ptr<Table> table;
  mutable std::mutex mutex;
  mutable std::vector<std::unique_ptr<Query>> idle;

  std::unique_ptr<Query> borrow(const FalconnProbing& probing) const {
    std::unique_ptr<Query> query;
    {
      const std::lock_guard<std::mutex> lock(mutex);
      if (!idle.empty()) {
        query = std::move(idle.back());
        idle.pop_back();
      }
    }
    if (!query) return table->construct_query_object(probing.probes, probing.max_candidates);
    query->set_num_probes(probing.probes);
    query->set_max_num_candidates(probing.max_candidates);
    return query;
  }

  void give_back(std::unique_ptr<Query> query) const {
    const std::lock_guard<std::mutex> lock(mutex);
    idle.push_back(std::move(query));
  }
};

FalconnIndex::FalconnIndex(const float* base, std::int64_t n, std::int64_t dimension, const FalconnSettings& settings,
                           std::int64_t threads)
    : base_(base), n_(n), dimension_(dimension), tables_(settings.tables), falconn_(std::make_unique<Tables>()) {
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

// Calls work(query object, query vector, number of the query) for every query, shared among the threads.
template <typename Work>
void FalconnIndex::for_each_query(const float* queries, std::int64_t q, const FalconnProbing& probing,
                                  Work work) const {
  std::atomic<std::int64_t> next{0};
  std::exception_ptr failure;
  std::mutex failure_mutex;
  const auto run = [&] {
    try {
      std::unique_ptr<Query> query = falconn_->borrow(probing);
      Vector vector(dimension_);  // FALCONN takes no view: the query is copied, as its own wrapper does
      for (std::int64_t first; (first = next.fetch_add(kQueriesAtOnce)) < q;) {
        for (std::int64_t i = first; i < std::min(q, first + kQueriesAtOnce); ++i) {
          std::copy_n(queries + i * dimension_, dimension_, vector.data());
          work(*query, vector, i);
        }
      }
      falconn_->give_back(std::move(query));
    } catch (...) {  // an exception must not leave a thread; the first one is thrown again below
      const std::lock_guard<std::mutex> lock(failure_mutex);
      if (!failure) failure = std::current_exception();
      next = q;
    }
  };
  const std::int64_t useful = std::min(probing.threads, (q + kQueriesAtOnce - 1) / kQueriesAtOnce);
  std::vector<std::thread> others;
  try {
    for (std::int64_t i = 1; i < useful; ++i) others.emplace_back(run);
  } catch (const std::system_error&) {
    // the system gives no more threads: those there are do all the work
  }
  run();
  for (auto& other : others) other.join();
  if (failure) std::rethrow_exception(failure);
}

void FalconnIndex::search(const float* queries, std::int64_t q, std::int64_t k, const FalconnProbing& probing,
                          std::int64_t* rows, float* distances) const {
  for_each_query(queries, q, probing, [&](Query& query, const Vector& vector, std::int64_t i) {
    thread_local std::vector<std::int32_t> found;
    query.find_k_nearest_neighbors(vector, k, &found);
    const std::int64_t count = found.size();  // may be less than k
    for (std::int64_t j = 0; j < count; ++j) {
      rows[i * k + j] = found[j];
      distances[i * k + j] =
          squared_distance(vector.data(), base_ + std::int64_t{found[j]} * dimension_, dimension_);
    }
    std::fill(rows + i * k + count, rows + (i + 1) * k, -1);
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
  for_each_query(queries, q, probing, [&](Query& query, const Vector& vector, std::int64_t i) {
    query.find_near_neighbors(vector, threshold, &lists[i]);
  });
  return join(lists);
}

RaggedRows FalconnIndex::candidates(const float* queries, std::int64_t q, bool is_unique,
                                    const FalconnProbing& probing) const {
  std::vector<std::vector<std::int32_t>> lists(q);
  for_each_query(queries, q, probing, [&](Query& query, const Vector& vector, std::int64_t i) {
    if (is_unique) {
      query.get_unique_candidates(vector, &lists[i]);
    } else {
      query.get_candidates_with_duplicates(vector, &lists[i]);
    }
  });
  return join(lists);
}

FalconnStatistics FalconnIndex::statistics() const {
  const std::lock_guard<std::mutex> lock(falconn_->mutex);
  falconn::QueryStatistics sum;
  for (const auto& query : falconn_->idle) {
    falconn::QueryStatistics of_one = query->get_query_statistics();
    of_one.convert_to_totals();
    sum.add_totals(of_one);
  }
  sum.compute_averages();
  return {sum.average_total_query_time, sum.average_lsh_time,       sum.average_hash_table_time,
          sum.average_distance_time,    sum.average_num_candidates, sum.average_num_unique_candidates,
          sum.num_queries};
}

void FalconnIndex::reset_statistics() {
  const std::lock_guard<std::mutex> lock(falconn_->mutex);
  for (auto& query : falconn_->idle) query->reset_query_statistics();
}

}  // namespace ris
