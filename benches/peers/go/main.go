// One side of a row in Go. It speaks the lines of src/side.rs: "ready", then units of work in and what they took out.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Does so many units of work, checks that they were done, and says what they took.
type side func(units uint64) uint64

// Rows by the beginnings of their names; the first that fits.
var rows = []struct {
	name string
	make func(size uint64) side
}{
	{"yield_now", yields},
	{"spawn+join", spawnJoin},
	{"park+unpark hand-off, across 2 workers", handOffApart},
	{"park+unpark hand-off", handOff},
	{"channel ping-pong", pingPong},
	{"channels, 1 to", oneToMany},
	{"channel, ", manyToOne},
	{"Mutex lock+unlock, in a fiber", mutexAlone},
	{"Mutex held across a yield", mutexHeld},
	{"Mutex, ", mutexContended},
	{"100,000 sleepers", sleepers},
	{"skynet", skynet},
	{"wake all", wakeAll},
	{"memory of", memory},
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "version" {
		fmt.Println("Go", strings.TrimPrefix(runtime.Version(), "go"))
		return
	}
	if len(os.Args) != 4 {
		fail("ROW SIZE WORKERS are wanted")
	}
	size, workers := number(os.Args[2]), number(os.Args[3])
	runtime.GOMAXPROCS(int(workers))
	side := find(os.Args[1])(size)
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fmt.Println(side(number(lines.Text())))
	}
}

func find(name string) func(uint64) side {
	for _, row := range rows {
		if strings.HasPrefix(name, row.name) {
			return row.make
		}
	}
	fail("no such row")
	return nil
}

func number(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		fail(err.Error())
	}
	return n
}

func since(start time.Time) uint64 {
	return uint64(time.Since(start).Nanoseconds())
}

func check(good bool, wrong string) {
	if !good {
		fail(wrong)
	}
}

func fail(why string) {
	fmt.Fprintln(os.Stderr, why)
	os.Exit(1)
}
