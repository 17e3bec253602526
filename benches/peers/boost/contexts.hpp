// boost.context: the switch itself, without a scheduler.
#pragma once

#include <memory>
#include <utility>

#include <boost/context/fiber.hpp>

#include "side.hpp"

// Goes in and comes out: a context carries no value of its own.
struct Carried {
    std::uint64_t value = 0;
};

inline Side pairs(std::uint64_t, unsigned) {
    auto carried = std::make_shared<Carried>();
    auto context = std::make_shared<boost::context::fiber>([carried](boost::context::fiber&& caller) {
        for (;;) {
            carried->value += 1;
            caller = std::move(caller).resume();
        }
        return std::move(caller);
    });
    return [carried, context](std::uint64_t count) {
        std::uint64_t sum = 0;
        auto start = Clock::now();
        for (std::uint64_t input = 0; input < count; ++input) {
            carried->value = keep(input);
            *context = std::move(*context).resume();
            sum += carried->value;
        }
        auto took = since(start);
        check(sum == count * (count + 1) / 2, "a pair was skipped");
        return took;
    };
}

// One that suspends once, so that it lived as a coroutine.
inline Side lives(std::uint64_t, unsigned) {
    return [](std::uint64_t count) {
        std::uint64_t sum = 0;
        auto start = Clock::now();
        for (std::uint64_t n = 0; n < count; ++n) {
            std::uint64_t value = keep(n);
            boost::context::fiber context{[&value](boost::context::fiber&& caller) {
                caller = std::move(caller).resume();
                value += 1;
                return std::move(caller);
            }};
            context = std::move(context).resume();
            context = std::move(context).resume();
            check(!context, "it did not end");
            sum += value;
        }
        auto took = since(start);
        check(sum == count * (count + 1) / 2, "a coroutine did not run");
        return took;
    };
}
