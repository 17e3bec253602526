package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// The clock of goroutines that take turns, and the check that they did: src/rows/turns.rs.
type turns struct {
	size                               uint64
	arrived, entered, quarterWay, left atomic.Uint64
	start                              time.Time
	took                               uint64
}

func (t *turns) body(yields uint64) uint64 {
	t.arrived.Add(1)
	for t.arrived.Load() != t.size {
		runtime.Gosched()
	}
	runtime.Gosched()
	if t.entered.Add(1) == t.size {
		t.start = time.Now()
	}
	for turn := uint64(0); turn < yields/4; turn++ {
		runtime.Gosched()
	}
	t.quarterWay.Add(1)
	for turn := yields / 4; turn < yields; turn++ {
		runtime.Gosched()
	}
	left := t.left.Add(1)
	if left == 1 {
		check(t.quarterWay.Load() == t.size, "one is through and others are not a quarter of the way")
	}
	if left == t.size {
		t.took = since(t.start)
	}
	return yields
}

func yields(size uint64) side {
	return func(yields uint64) uint64 {
		turns := &turns{size: size}
		var sum atomic.Uint64
		var all sync.WaitGroup
		all.Add(int(size))
		for n := uint64(0); n < size; n++ {
			go func() {
				sum.Add(turns.body(yields))
				all.Done()
			}()
		}
		all.Wait()
		check(sum.Load() == yields*size, "a goroutine did not yield")
		return turns.took
	}
}

// Goroutines hand back nothing; each has a place for its result, and a WaitGroup says when all are there.
func spawnJoin(size uint64) side {
	results := make([]uint64, size)
	return func(batches uint64) uint64 {
		var sum uint64
		start := time.Now()
		for batch := uint64(0); batch < batches; batch++ {
			var all sync.WaitGroup
			all.Add(int(size))
			for n := uint64(0); n < size; n++ {
				n := n
				go func() {
					results[n] = n + batch
					all.Done()
				}()
			}
			all.Wait()
			for _, result := range results {
				sum += result
			}
		}
		took := since(start)
		expected := batches*(size*(size-1)/2) + size*(batches*(batches-1)/2)
		check(sum == expected, "a goroutine did not run")
		return took
	}
}

func pingPong(uint64) side {
	return func(trips uint64) uint64 {
		toPong, toPing := make(chan uint64, 1), make(chan uint64, 1)
		answers := make(chan uint64, 1)
		go func() {
			count := uint64(0)
			for ball := range toPong {
				toPing <- ball + 1
				count++
			}
			answers <- count
		}()
		ball := uint64(0)
		start := time.Now()
		for trip := uint64(0); trip < trips; trip++ {
			toPong <- ball
			ball = <-toPing
		}
		took := since(start)
		close(toPong)
		check(ball == trips && <-answers == trips, "a trip was skipped")
		return took
	}
}

const room = 16

func oneToMany(size uint64) side {
	return func(messages uint64) uint64 {
		senders := make([]chan uint64, size)
		sums := make(chan uint64, size)
		for n := range senders {
			channel := make(chan uint64, room)
			senders[n] = channel
			go func() {
				sum := uint64(0)
				for message := range channel {
					sum += message
				}
				sums <- sum
			}()
		}
		start := time.Now()
		for message := uint64(0); message < messages; message++ {
			for _, sender := range senders {
				sender <- message
			}
		}
		sum := uint64(0)
		for _, sender := range senders {
			close(sender)
		}
		for range senders {
			sum += <-sums
		}
		took := since(start)
		check(sum == size*(messages*(messages-1)/2), "a message was lost")
		return took
	}
}

func manyToOne(size uint64) side {
	return func(messages uint64) uint64 {
		channel := make(chan uint64, room)
		start := time.Now()
		for n := uint64(0); n < size; n++ {
			go func() {
				for message := uint64(0); message < messages; message++ {
					channel <- message
				}
			}()
		}
		sum := uint64(0)
		for n := uint64(0); n < size*messages; n++ {
			sum += <-channel
		}
		took := since(start)
		check(sum == size*(messages*(messages-1)/2), "a message was lost")
		return took
	}
}

// A number that only the holder of the lock changes.
type counter struct {
	mutex sync.Mutex
	count uint64
}

// Not inlined, so that the lock is not kept over turns of a loop.
//
//go:noinline
func (c *counter) add() uint64 {
	c.mutex.Lock()
	c.count++
	count := c.count
	c.mutex.Unlock()
	return count
}

func (c *counter) addAcrossYield() {
	c.mutex.Lock()
	c.count++
	runtime.Gosched()
	c.mutex.Unlock()
}

func mutexAlone(uint64) side {
	return func(locks uint64) uint64 {
		var c counter
		start := time.Now()
		for n := uint64(0); n < locks; n++ {
			c.add()
		}
		took := since(start)
		check(c.add() == locks+1, "a lock was skipped")
		return took
	}
}

func mutexContended(size uint64) side {
	return mutexShared(size, func(c *counter) { c.add() })
}

func mutexHeld(size uint64) side {
	return mutexShared(size, (*counter).addAcrossYield)
}

func mutexShared(size uint64, add func(*counter)) side {
	return func(locks uint64) uint64 {
		var c counter
		var all sync.WaitGroup
		all.Add(int(size))
		start := time.Now()
		for n := uint64(0); n < size; n++ {
			go func() {
				for n := uint64(0); n < locks; n++ {
					add(&c)
				}
				all.Done()
			}()
		}
		all.Wait()
		took := since(start)
		check(c.add() == locks*size+1, "two held the lock at once")
		return took
	}
}

// Each starts ten and sums up what they send.
func bush(first, leaves uint64, to chan<- uint64) {
	if leaves == 1 {
		to <- first
		return
	}
	each := leaves / 10
	from := make(chan uint64, 10)
	for n := uint64(0); n < 10; n++ {
		go bush(first+n*each, each, from)
	}
	sum := uint64(0)
	for n := 0; n < 10; n++ {
		sum += <-from
	}
	to <- sum
}

func skynet(size uint64) side {
	return func(bushes uint64) uint64 {
		to := make(chan uint64, 1)
		start := time.Now()
		for n := uint64(0); n < bushes; n++ {
			bush(0, size, to)
			check(<-to == size*(size-1)/2, "a leaf is missing")
		}
		return since(start)
	}
}
