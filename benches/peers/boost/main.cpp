// One side of a row with boost.fiber or boost.context. It speaks the lines of src/side.rs: "ready", then units of work in
// and what they took out.
#include <cstring>
#include <iostream>
#include <string>

#include <boost/version.hpp>

#include "contexts.hpp"
#include "fibers.hpp"
#include "waiting.hpp"

struct Row {
    // The beginning of its name.
    const char* name;
    Side (*make)(std::uint64_t size, unsigned workers);
};

// The first that fits.
static const Row ROWS[] = {
    {"resume+suspend pair", pairs},
    {"create+run+drop", lives},
    {"yield_now", yields},
    {"spawn+join", spawn_join},
    {"park+unpark hand-off", hand_off},
    {"channel ping-pong", ping_pong},
    {"channels, 1 to", one_to_many},
    {"channel, ", many_to_one},
    {"Mutex lock+unlock, in a fiber", mutex_alone},
    {"Mutex held across a yield", mutex_held},
    {"Mutex, ", mutex_contended},
    {"100,000 sleepers", sleepers},
    {"skynet", skynet},
    {"wake all", wake_all},
    {"memory of", memory},
};

static Side find(const char* name, std::uint64_t size, unsigned workers) {
    for (const Row& row : ROWS) {
        if (std::strncmp(name, row.name, std::strlen(row.name)) == 0) {
            return row.make(size, workers);
        }
    }
    fail("no such row");
}

int main(int count, char** arguments) {
    if (count == 2 && std::strcmp(arguments[1], "version") == 0) {
        std::cout << "boost " << BOOST_VERSION / 100000 << '.' << BOOST_VERSION / 100 % 1000 << " (C++: " << __VERSION__ << ")" << std::endl;
        return 0;
    }
    if (count != 4) {
        fail("ROW SIZE WORKERS are wanted");
    }
    Side side = find(arguments[1], std::stoull(arguments[2]), std::stoul(arguments[3]));
    std::cout << "ready" << std::endl;
    std::string line;
    while (std::getline(std::cin, line)) {
        std::cout << side(std::stoull(line)) << std::endl;
    }
    // Not by returning: threads and schedulers are not asked to end.
    std::_Exit(0);
}
