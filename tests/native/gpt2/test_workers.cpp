#include "gpt2/workers.h"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <thread>
#include <vector>

namespace {

using midigpt::gpt2::Workers;

// How often each of `count` places was worked on.
std::vector<int> visits(Workers& workers, std::size_t count) {
    std::vector<std::atomic<int>> seen(count);
    workers.split(count, [&](std::size_t part, std::size_t first, std::size_t last) {
        if (part >= workers.size()) return;
        for (std::size_t i = first; i < last; ++i) ++seen[i];
    });
    return {seen.begin(), seen.end()};
}

TEST_CASE("work is split without gap or overlap, whatever the number of threads") {
    for (const std::size_t threads : {1U, 2U, 3U, 5U}) {
        Workers workers(threads);
        CHECK(workers.size() == threads);
        for (const std::size_t count : {0U, 1U, 2U, 7U, 1000U}) {
            CHECK(visits(workers, count) == std::vector<int>(count, 1));
        }
    }
}

TEST_CASE("workers that fell asleep wake up") {
    Workers workers(3);
    for (int round = 0; round < 5; ++round) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        CHECK(visits(workers, 100) == std::vector<int>(100, 1));
    }
}

}  // namespace
