// Threads that run fibers.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include <boost/fiber/all.hpp>

#include "side.hpp"

// One worker is this thread with the scheduler that boost.fiber has without being asked. A second one is a thread that
// steals; both look for fibers without pause while a round lasts, which is that scheduler's default, and the second one
// sleeps between rounds, so as not to disturb others.
class Workers {
public:
    explicit Workers(unsigned count) : several{count > 1} {
        check(count <= 2, "two workers at the most");
        if (!several) {
            return;
        }
        std::thread{[this] { second(); }}.detach();
        boost::fibers::use_scheduling_algorithm<boost::fibers::algo::work_stealing>(2u);
        here();
    }

    void begin() {
        if (several) {
            std::lock_guard<std::mutex> lock{mutex};
            running = true;
            started.notify_one();
        }
    }

    void end() {
        if (several) {
            std::lock_guard<boost::fibers::mutex> lock{end_mutex};
            running = false;
            ended.notify_one();
        }
    }

private:
    // Nobody may steal before both schedulers are there.
    void here() {
        registered.fetch_add(1);
        while (registered.load() < 2) {
            std::this_thread::yield();
        }
    }

    void second() {
        boost::fibers::use_scheduling_algorithm<boost::fibers::algo::work_stealing>(2u);
        here();
        for (;;) {
            {
                std::unique_lock<std::mutex> lock{mutex};
                started.wait(lock, [this] { return running.load(); });
            }
            std::unique_lock<boost::fibers::mutex> lock{end_mutex};
            ended.wait(lock, [this] { return !running.load(); });
        }
    }

    const bool several;
    std::atomic<unsigned> registered{0};
    std::atomic<bool> running{false};
    std::mutex mutex;
    std::condition_variable started;
    boost::fibers::mutex end_mutex;
    boost::fibers::condition_variable ended;
};

// A side whose rounds run on so many workers.
template <typename Work>
Side on(unsigned count, Work work) {
    auto workers = std::make_shared<Workers>(count);
    return [workers, work](std::uint64_t units) mutable {
        workers->begin();
        std::uint64_t took = work(units);
        workers->end();
        return took;
    };
}
