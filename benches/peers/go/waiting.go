package main

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Goroutines have no park. A channel with room for one keeps a permit, as a park token does.
type permit chan struct{}

func newPermit() permit {
	return make(permit, 1)
}

func (p permit) park() {
	<-p
}

func (p permit) unpark() {
	select {
	case p <- struct{}{}:
	default:
	}
}

// Two goroutines wake each other in turn; even turns are ping's.
type pair struct {
	ping, pong permit
	turn       atomic.Uint64
}

func (p *pair) handOff(trips uint64, meet func()) uint64 {
	answers := make(chan uint64, 1)
	go func() {
		meet()
		for trip := uint64(0); trip < trips; trip++ {
			for p.turn.Load() != 2*trip+1 {
				p.pong.park()
			}
			p.turn.Store(p.turn.Load() + 1)
			p.ping.unpark()
		}
		answers <- trips
	}()
	meet()
	start := time.Now()
	for trip := uint64(0); trip < trips; trip++ {
		p.turn.Store(p.turn.Load() + 1)
		p.pong.unpark()
		for p.turn.Load() != 2*(trip+1) {
			p.ping.park()
		}
	}
	took := since(start)
	check(<-answers == trips && p.turn.Load() == 2*trips, "a turn was skipped")
	return took
}

func handOff(uint64) side {
	return func(trips uint64) uint64 {
		p := &pair{ping: newPermit(), pong: newPermit()}
		return p.handOff(trips, func() {})
	}
}

// Both start at the same time: who is there first holds its worker until the other one has one too.
func handOffApart(uint64) side {
	return func(trips uint64) uint64 {
		p := &pair{ping: newPermit(), pong: newPermit()}
		var met atomic.Uint64
		return p.handOff(trips, func() {
			met.Add(1)
			for since := time.Now(); met.Load() < 2; {
				check(time.Since(since) < 20*time.Second, "they never ran at the same time")
			}
		})
	}
}

// Counts goroutines as they come, and wakes whoever waits for all of them.
type crowd struct {
	here   atomic.Uint64
	size   uint64
	waiter permit
}

func newCrowd(size uint64) *crowd {
	return &crowd{size: size, waiter: newPermit()}
}

func (c *crowd) come() {
	if c.here.Add(1) == c.size {
		c.waiter.unpark()
	}
}

func (c *crowd) wait() {
	for c.here.Load() < c.size {
		c.waiter.park()
	}
}

// Many wait, and one is woken after the other: from the first wake until the last of them has run.
func wakeAll(size uint64) side {
	return func(times uint64) uint64 {
		var took uint64
		for n := uint64(0); n < times; n++ {
			waiting, awake := newCrowd(size), newCrowd(size)
			permits := make([]permit, size)
			var all sync.WaitGroup
			all.Add(int(size))
			for n := range permits {
				own := newPermit()
				permits[n] = own
				go func() {
					waiting.come()
					own.park()
					awake.come()
					all.Done()
				}()
			}
			waiting.wait()
			check(awake.here.Load() == 0, "one did not wait")
			start := time.Now()
			for _, permit := range permits {
				permit.unpark()
			}
			awake.wait()
			took += since(start)
			all.Wait()
		}
		return took
	}
}

// Many sleep for different times: timers set, kept in order and fired.
func sleepers(size uint64) side {
	return func(nights uint64) uint64 {
		start := time.Now()
		for n := uint64(0); n < nights; n++ {
			var awake atomic.Uint64
			var all sync.WaitGroup
			all.Add(int(size))
			for sleeper := uint64(0); sleeper < size; sleeper++ {
				sleeper := sleeper
				go func() {
					since, length := time.Now(), time.Duration(1+sleeper%50)*time.Millisecond
					time.Sleep(length)
					if time.Since(since) >= length {
						awake.Add(1)
					}
					all.Done()
				}()
			}
			all.Wait()
			check(awake.Load() == size, "a sleeper woke too early")
		}
		return since(start)
	}
}

// What one that waits costs: all wait at one channel, so that nothing is counted that a goroutine does not need.
func memory(size uint64) side {
	before := used()
	return func(uint64) uint64 {
		waiting := newCrowd(size)
		wake := make(chan struct{})
		var all sync.WaitGroup
		all.Add(int(size))
		for n := uint64(0); n < size; n++ {
			go func() {
				waiting.come()
				<-wake
				all.Done()
			}()
		}
		waiting.wait()
		grown := used() - before
		for n := uint64(0); n < size; n++ {
			wake <- struct{}{}
		}
		all.Wait()
		return grown
	}
}

// Resident pages and page tables.
func used() uint64 {
	status, err := os.ReadFile("/proc/self/status")
	check(err == nil, "no procfs")
	var sum uint64
	for _, name := range []string{"VmRSS:", "VmPTE:"} {
		at := bytes.Index(status, []byte(name))
		check(at >= 0, "no memory in procfs")
		var kib uint64
		_, err := fmt.Sscan(string(status[at+len(name):]), &kib)
		check(err == nil, "no number of KiB")
		sum += kib * 1024
	}
	return sum
}
