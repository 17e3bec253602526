// Fibers that yield, live shortly, send, lock and fork.
#pragma once

#include <memory>
#include <vector>

#include "workers.hpp"

using Channel = boost::fibers::buffered_channel<std::uint64_t>;

// The clock of fibers that take turns, and the check that they did: src/rows/turns.rs. One thread runs all.
struct Turns {
    std::uint64_t size;
    std::uint64_t arrived = 0, entered = 0, quarter_way = 0, left = 0;
    Clock::time_point start{};
    std::uint64_t took = 0;

    std::uint64_t body(std::uint64_t yields) {
        arrived += 1;
        while (arrived != size) {
            boost::this_fiber::yield();
        }
        boost::this_fiber::yield();
        entered += 1;
        if (entered == size) {
            start = Clock::now();
        }
        for (std::uint64_t turn = 0; turn < yields / 4; ++turn) {
            boost::this_fiber::yield();
        }
        quarter_way += 1;
        for (std::uint64_t turn = yields / 4; turn < yields; ++turn) {
            boost::this_fiber::yield();
        }
        if (left == 0) {
            check(quarter_way == size, "one is through and others are not a quarter of the way");
        }
        left += 1;
        if (left == size) {
            took = since(start);
        }
        return yields;
    }
};

inline Side yields(std::uint64_t size, unsigned workers) {
    return on(workers, [size](std::uint64_t yields) {
        Turns turns{size};
        std::uint64_t sum = 0;
        std::vector<boost::fibers::fiber> fibers;
        for (std::uint64_t n = 0; n < size; ++n) {
            fibers.emplace_back([&] { sum += turns.body(yields); });
        }
        for (auto& fiber : fibers) {
            fiber.join();
        }
        check(sum == yields * size, "a fiber did not yield");
        return turns.took;
    });
}

// A fiber hands back nothing; each has a place for its result.
inline Side spawn_join(std::uint64_t size, unsigned workers) {
    return on(workers, [size](std::uint64_t batches) {
        std::vector<std::uint64_t> results(size);
        std::vector<boost::fibers::fiber> fibers;
        fibers.reserve(size);
        std::uint64_t sum = 0;
        auto start = Clock::now();
        for (std::uint64_t batch = 0; batch < batches; ++batch) {
            for (std::uint64_t n = 0; n < size; ++n) {
                fibers.emplace_back([&results, n, batch] { results[n] = n + batch; });
            }
            for (auto& fiber : fibers) {
                fiber.join();
            }
            fibers.clear();
            for (std::uint64_t result : results) {
                sum += result;
            }
        }
        auto took = since(start);
        auto expected = batches * (size * (size - 1) / 2) + size * (batches * (batches - 1) / 2);
        check(sum == expected, "a fiber did not run");
        return took;
    });
}

// A channel of two places has room for one: one place is always free.
inline Side ping_pong(std::uint64_t, unsigned workers) {
    return on(workers, [](std::uint64_t trips) {
        Channel to_pong{2}, to_ping{2};
        std::uint64_t answers = 0;
        boost::fibers::fiber pong{[&] {
            for (std::uint64_t ball : to_pong) {
                to_ping.push(ball + 1);
                answers += 1;
            }
        }};
        std::uint64_t ball = 0;
        auto start = Clock::now();
        for (std::uint64_t trip = 0; trip < trips; ++trip) {
            to_pong.push(ball);
            ball = to_ping.value_pop();
        }
        auto took = since(start);
        to_pong.close();
        pong.join();
        check(ball == trips && answers == trips, "a trip was skipped");
        return took;
    });
}

// Its channels have powers of two of places, one of which stays free: this is room for 31 messages, not 16.
constexpr std::size_t PLACES = 32;

inline Side one_to_many(std::uint64_t size, unsigned workers) {
    return on(workers, [size](std::uint64_t messages) {
        std::vector<std::unique_ptr<Channel>> channels;
        std::vector<boost::fibers::fiber> receivers;
        std::uint64_t sum = 0;
        for (std::uint64_t n = 0; n < size; ++n) {
            channels.push_back(std::make_unique<Channel>(PLACES));
            receivers.emplace_back([&sum, channel = channels.back().get()] {
                for (std::uint64_t message : *channel) {
                    sum += message;
                }
            });
        }
        auto start = Clock::now();
        for (std::uint64_t message = 0; message < messages; ++message) {
            for (auto& channel : channels) {
                channel->push(message);
            }
        }
        for (auto& channel : channels) {
            channel->close();
        }
        for (auto& receiver : receivers) {
            receiver.join();
        }
        auto took = since(start);
        check(sum == size * (messages * (messages - 1) / 2), "a message was lost");
        return took;
    });
}

inline Side many_to_one(std::uint64_t size, unsigned workers) {
    return on(workers, [size](std::uint64_t messages) {
        Channel channel{PLACES};
        std::vector<boost::fibers::fiber> senders;
        std::uint64_t sum = 0;
        auto start = Clock::now();
        for (std::uint64_t n = 0; n < size; ++n) {
            senders.emplace_back([&] {
                for (std::uint64_t message = 0; message < messages; ++message) {
                    channel.push(message);
                }
            });
        }
        for (std::uint64_t n = 0; n < size * messages; ++n) {
            sum += channel.value_pop();
        }
        auto took = since(start);
        for (auto& sender : senders) {
            sender.join();
        }
        check(sum == size * (messages * (messages - 1) / 2), "a message was lost");
        return took;
    });
}

// A number that only the holder of the lock changes.
struct Counter {
    boost::fibers::mutex mutex;
    std::uint64_t count = 0;

    std::uint64_t add() {
        std::lock_guard<boost::fibers::mutex> lock{mutex};
        return ++count;
    }

    void add_across_yield() {
        std::lock_guard<boost::fibers::mutex> lock{mutex};
        ++count;
        boost::this_fiber::yield();
    }
};

inline Side mutex_alone(std::uint64_t, unsigned workers) {
    return on(workers, [](std::uint64_t locks) {
        std::uint64_t took = 0;
        boost::fibers::fiber{[&] {
            Counter counter;
            auto start = Clock::now();
            for (std::uint64_t n = 0; n < locks; ++n) {
                keep(&counter)->add();
            }
            took = since(start);
            check(counter.add() == locks + 1, "a lock was skipped");
        }}.join();
        return took;
    });
}

template <typename Add>
Side mutex_shared(std::uint64_t size, unsigned workers, Add add) {
    return on(workers, [size, add](std::uint64_t locks) {
        Counter counter;
        std::vector<boost::fibers::fiber> fibers;
        auto start = Clock::now();
        for (std::uint64_t n = 0; n < size; ++n) {
            fibers.emplace_back([&] {
                for (std::uint64_t n = 0; n < locks; ++n) {
                    add(counter);
                }
            });
        }
        for (auto& fiber : fibers) {
            fiber.join();
        }
        auto took = since(start);
        check(counter.add() == locks * size + 1, "two held the lock at once");
        return took;
    });
}

inline Side mutex_contended(std::uint64_t size, unsigned workers) {
    return mutex_shared(size, workers, [](Counter& counter) { counter.add(); });
}

inline Side mutex_held(std::uint64_t size, unsigned workers) {
    return mutex_shared(size, workers, [](Counter& counter) { counter.add_across_yield(); });
}

// Each starts ten and sums up what they leave.
inline std::uint64_t bush(std::uint64_t first, std::uint64_t leaves) {
    if (leaves == 1) {
        return first;
    }
    std::uint64_t each = leaves / 10;
    std::uint64_t sums[10];
    boost::fibers::fiber fibers[10];
    for (std::uint64_t n = 0; n < 10; ++n) {
        std::uint64_t* sum = &sums[n];
        fibers[n] = boost::fibers::fiber{[=] { *sum = bush(first + n * each, each); }};
    }
    std::uint64_t sum = 0;
    for (std::uint64_t n = 0; n < 10; ++n) {
        fibers[n].join();
        sum += sums[n];
    }
    return sum;
}

inline Side skynet(std::uint64_t size, unsigned workers) {
    return on(workers, [size](std::uint64_t bushes) {
        auto start = Clock::now();
        for (std::uint64_t n = 0; n < bushes; ++n) {
            check(bush(0, size) == size * (size - 1) / 2, "a leaf is missing");
        }
        return since(start);
    });
}
