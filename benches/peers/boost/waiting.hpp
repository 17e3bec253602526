// Fibers that wait: for each other, for all, for a time.
#pragma once

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "workers.hpp"

// Fibers have no park that users may call. A channel with room for one keeps a permit, as a park token does.
class Permit {
public:
    void park() {
        channel.value_pop();
    }

    void unpark() {
        channel.try_push(true);
    }

private:
    boost::fibers::buffered_channel<bool> channel{2};
};

// Two fibers wake each other in turn; even turns are ping's.
inline Side hand_off(std::uint64_t, unsigned workers) {
    check(workers == 1, "one thread runs both");
    return on(workers, [](std::uint64_t trips) {
        Permit at_ping, at_pong;
        std::uint64_t turn = 0;
        boost::fibers::fiber pong{[&] {
            for (std::uint64_t trip = 0; trip < trips; ++trip) {
                while (turn != 2 * trip + 1) {
                    at_pong.park();
                }
                turn += 1;
                at_ping.unpark();
            }
        }};
        auto start = Clock::now();
        for (std::uint64_t trip = 0; trip < trips; ++trip) {
            turn += 1;
            at_pong.unpark();
            while (turn != 2 * (trip + 1)) {
                at_ping.park();
            }
        }
        auto took = since(start);
        pong.join();
        check(turn == 2 * trips, "a turn was skipped");
        return took;
    });
}

// Counts fibers as they come, and wakes whoever waits for all of them. One thread runs all.
struct Crowd {
    std::uint64_t size;
    std::uint64_t here = 0;
    Permit waiter{};

    void come() {
        here += 1;
        if (here == size) {
            waiter.unpark();
        }
    }

    void wait() {
        while (here < size) {
            waiter.park();
        }
    }
};

// Many wait, and one is woken after the other: from the first wake until the last of them has run.
inline Side wake_all(std::uint64_t size, unsigned workers) {
    return on(workers, [size](std::uint64_t times) {
        std::uint64_t took = 0;
        for (std::uint64_t n = 0; n < times; ++n) {
            Crowd waiting{size}, awake{size};
            std::vector<std::unique_ptr<Permit>> permits;
            std::vector<boost::fibers::fiber> fibers;
            for (std::uint64_t n = 0; n < size; ++n) {
                permits.push_back(std::make_unique<Permit>());
                fibers.emplace_back([&, own = permits.back().get()] {
                    waiting.come();
                    own->park();
                    awake.come();
                });
            }
            waiting.wait();
            check(awake.here == 0, "one did not wait");
            auto start = Clock::now();
            for (auto& permit : permits) {
                permit->unpark();
            }
            awake.wait();
            took += since(start);
            for (auto& fiber : fibers) {
                fiber.join();
            }
        }
        return took;
    });
}

// Many sleep for different times: timers set, kept in order and fired.
inline Side sleepers(std::uint64_t size, unsigned workers) {
    return on(workers, [size](std::uint64_t nights) {
        auto start = Clock::now();
        for (std::uint64_t n = 0; n < nights; ++n) {
            std::uint64_t awake = 0;
            std::vector<boost::fibers::fiber> fibers;
            for (std::uint64_t sleeper = 0; sleeper < size; ++sleeper) {
                fibers.emplace_back([&awake, sleeper] {
                    auto since = Clock::now();
                    auto length = std::chrono::milliseconds(1 + sleeper % 50);
                    boost::this_fiber::sleep_for(length);
                    awake += Clock::now() - since >= length;
                });
            }
            for (auto& fiber : fibers) {
                fiber.join();
            }
            check(awake == size, "a sleeper woke too early");
        }
        return since(start);
    });
}

// Bytes: resident pages and page tables.
inline std::uint64_t used() {
    std::ifstream status{"/proc/self/status"};
    std::uint64_t sum = 0;
    for (std::string word; status >> word;) {
        if (word == "VmRSS:" || word == "VmPTE:") {
            std::uint64_t kib = 0;
            status >> kib;
            sum += kib * 1024;
        }
    }
    check(sum > 0, "no memory in procfs");
    return sum;
}

// What one that waits costs, on the default stack: all wait at one condition, so that nothing is counted that a fiber does
// not need.
inline Side memory(std::uint64_t size, unsigned workers) {
    std::uint64_t before = used();
    return on(workers, [size, before](std::uint64_t) {
        Crowd waiting{size};
        boost::fibers::mutex mutex;
        boost::fibers::condition_variable wake;
        bool woken = false;
        std::uint64_t awake = 0;
        std::vector<boost::fibers::fiber> fibers;
        fibers.reserve(size);
        for (std::uint64_t n = 0; n < size; ++n) {
            fibers.emplace_back([&] {
                std::unique_lock<boost::fibers::mutex> lock{mutex};
                waiting.come();
                wake.wait(lock, [&] { return woken; });
                awake += 1;
            });
        }
        waiting.wait();
        std::uint64_t grown = used() - before;
        {
            std::lock_guard<boost::fibers::mutex> lock{mutex};
            woken = true;
        }
        wake.notify_all();
        for (auto& fiber : fibers) {
            fiber.join();
        }
        check(awake == size, "one did not wake");
        return grown;
    });
}
