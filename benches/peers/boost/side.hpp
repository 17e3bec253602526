// One side of a row: what it is, its clock and its checks.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>

// Does so many units of work, checks that they were done, and says what they took.
using Side = std::function<std::uint64_t(std::uint64_t)>;

using Clock = std::chrono::steady_clock;

inline std::uint64_t since(Clock::time_point start) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count();
}

[[noreturn]] inline void fail(const char* why) {
    std::fprintf(stderr, "%s\n", why);
    std::_Exit(1);
}

inline void check(bool good, const char* wrong) {
    if (!good) {
        fail(wrong);
    }
}

// The compiler must have this value, and may not know it.
template <typename T>
inline T keep(T value) {
    asm volatile("" : "+r"(value) : : "memory");
    return value;
}
