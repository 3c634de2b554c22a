// Shares work among threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace ris {

// Calls work(first, last) for pieces of `piece` of 0 to count - 1, on up to so many threads. Throws what a call threw.
// Each thread asks `make` for a callable of its own first, which so may hold scratch memory.
template <typename Make>
void in_parallel(std::int64_t threads, std::int64_t count, std::int64_t piece, Make make) {
  std::atomic<std::int64_t> next{0};
  std::exception_ptr failure;
  std::mutex failure_mutex;
  const auto run = [&] {
    try {
      auto work = make();
      for (std::int64_t first; (first = next.fetch_add(piece)) < count;) work(first, std::min(count, first + piece));
    } catch (...) {  // an exception must not leave a thread
      const std::lock_guard<std::mutex> lock(failure_mutex);
      if (!failure) failure = std::current_exception();
      next = count;
    }
  };
  const std::int64_t useful = std::min(threads, (count + piece - 1) / piece);
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

}  // namespace ris
