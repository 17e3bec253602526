#!/usr/bin/env python3
"""Breaks each step of the lock-free protocols in a copy of the tree: some loom model must fail.

By hand, or at night: a mutant takes some ten seconds. `loom-mutants.py [text...]` runs those whose line has one of the texts.
A mutant is a file, a text in it that occurs once after `anchor`, and what to put in its place.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPY = ROOT / "target" / "mutants" / "tree"
TARGET = ROOT / "target" / "mutants" / "build"
SECONDS = 180
SRC = "runtime/src/"

# (file, anchor, text, replacement)
MUTANTS = [
    # State word
    ("fiber/state.rs", "fn notify", "Ordering::AcqRel", "Ordering::Acquire"),
    ("fiber/state.rs", "fn notify", "Ordering::AcqRel", "Ordering::Release"),
    ("fiber/state.rs", "fn notify", "before & (PARKED | NOTIFIED | SCAN) == PARKED", "before & PARKED != 0"),
    ("fiber/state.rs", "fn begin", "self.0.fetch_and(", "load_store(&self.0,"),
    ("fiber/state.rs", "fn begin", "Ordering::AcqRel", "Ordering::Release"),
    ("fiber/state.rs", "fn park", "self.0.fetch_or(PARKED, Ordering::AcqRel)",
     "({ let w = self.0.load(Ordering::Acquire); self.0.store(w | PARKED, Ordering::Release); w })"),
    ("fiber/state.rs", "fn park", "Ordering::AcqRel", "Ordering::Acquire"),
    ("fiber/state.rs", "fn take", "Ordering::AcqRel", "Ordering::Release"),
    ("fiber/state.rs", "fn take", "self.0.fetch_and(!(reason | NOTIFIED), Ordering::AcqRel)",
     "({ let w = self.0.load(Ordering::Acquire); self.0.store(w & !(reason | NOTIFIED), Ordering::Release); w })"),
    ("fiber/record.rs", "fn take", "self.state.take(reason) | (pending & reason != 0)",
     "(pending & reason != 0) || self.state.take(reason)"),
    ("fiber/record.rs", "fn take", "self.state.take(reason) | (pending & reason != 0)", "self.state.take(reason)"),
    # Scan
    ("fiber/state.rs", "fn notify", "PARKED | NOTIFIED | SCAN", "PARKED | NOTIFIED"),
    ("fiber/state.rs", "fn scan_begin", "word & (PARKED | NOTIFIED | SCAN) == PARKED", "word & (PARKED | SCAN) == PARKED"),
    ("fiber/state.rs", "fn scan_begin", "word & (PARKED | NOTIFIED | SCAN) == PARKED", "word & (NOTIFIED | SCAN) == 0"),
    ("fiber/state.rs", "fn scan_begin", "word & (PARKED | NOTIFIED | SCAN) == PARKED",
     "word & (PARKED | NOTIFIED) == PARKED"),
    ("fiber/state.rs", "fn scan_begin", "Ordering::Acquire", "Ordering::Relaxed"),
    ("fiber/state.rs", "fn scan_end", "Ordering::Release", "Ordering::Relaxed"),
    ("fiber/state.rs", "fn scan_end", "self.0.fetch_and(!SCAN, Ordering::Release) & NOTIFIED != 0",
     "{ self.0.fetch_and(!SCAN, Ordering::Release); false }"),
    ("fiber/state.rs", "fn scan_end", "self.0.fetch_and(!SCAN, Ordering::Release)",
     "load_store(&self.0, !SCAN, Ordering::Release)"),
    # Waits with a condition of their own
    ("scope.rs", "fn have_ended", "Ordering::Acquire", "Ordering::Relaxed"),
    ("scope.rs", "fn ended", "Ordering::Release) == 1", "Ordering::Relaxed) == 1"),
    ("scope.rs", "fn ended", "Ordering::Release) == 1", "Ordering::Release) == 2"),
    ("scope.rs", "fn ended", "self.owner.wake();", ""),
    ("unblock.rs", "fn is_set", "Ordering::Acquire", "Ordering::Relaxed"),
    ("unblock.rs", "impl Drop for Finish", "Ordering::Release", "Ordering::Relaxed"),
    ("unblock.rs", "impl Drop for Finish", "self.0.waiter.wake();", ""),
    ("unblock.rs", "impl Drop for Finish", "self.0.done.store(true, Ordering::Release);\n        self.0.waiter.wake();",
     "self.0.waiter.wake();\n        self.0.done.store(true, Ordering::Release);"),
    ("block_on.rs", "fn take", "Ordering::Acquire", "Ordering::Relaxed"),
    ("block_on.rs", "fn take", "self.woken.swap(false, Ordering::Acquire)",
     "{ let w = self.is_woken(); (*self.woken).store(false, Ordering::Release); w }"),
    ("block_on.rs", "fn wake_by_ref", "self.woken.swap(true, Ordering::Release)",
     "(*self.woken).store(true, Ordering::Release)"),
    ("block_on.rs", "fn wake_by_ref", "self.woken.swap(true, Ordering::Release)",
     "self.woken.swap(true, Ordering::Relaxed)"),
    ("block_on.rs", "fn wake_by_ref", "self.fiber.wake(0);", ""),
    # Join cell
    ("fiber/state.rs", "fn finish", "Ordering::AcqRel", "Ordering::Acquire"),
    ("fiber/state.rs", "fn finish", "Ordering::AcqRel", "Ordering::Release"),
    ("fiber/state.rs", "fn is_done", "Ordering::Acquire", "Ordering::Relaxed"),
    ("fiber/state.rs", "fn drop_handle", "Ordering::AcqRel", "Ordering::Release"),
    ("fiber/state.rs", "fn claim_waker", "Ordering::AcqRel", "Ordering::Release"),
    ("fiber/state.rs", "fn claim_waker", "self.0.fetch_and(!JOIN_WAKER, Ordering::AcqRel) & DONE == 0",
     "!self.is_done()"),
    ("fiber/state.rs", "fn publish_waker", "Ordering::AcqRel", "Ordering::Acquire"),
    ("fiber/state.rs", "fn publish_waker", "self.0.fetch_or(JOIN_WAKER, Ordering::AcqRel) & DONE == 0",
     "{ self.0.fetch_or(JOIN_WAKER, Ordering::AcqRel); true }"),
    ("fiber/body.rs", "unsafe fn end<", "before & HANDLE == 0", "false"),
    ("fiber/body.rs", "unsafe fn end<", "before & JOIN_WAKER != 0", "false"),
    ("fiber/record.rs", "impl Drop for FiberRef", "Ordering::Acquire", "Ordering::Relaxed"),
    ("fiber/record.rs", "impl Drop for FiberRef", "Ordering::AcqRel", "Ordering::Acquire"),
    ("fiber/record.rs", "impl Drop for FiberRef", "Ordering::AcqRel", "Ordering::Release"),
    ("fiber/state.rs", "fn notify_here", "word & (PARKED | NOTIFIED | SCAN) == PARKED", "word & (PARKED | SCAN) == PARKED"),
    ("fiber/state.rs", "fn notify_here", "word & (PARKED | NOTIFIED | SCAN) == PARKED", "word & (PARKED | NOTIFIED) == PARKED"),
    ("fiber/state.rs", "fn notify_here", "word & (PARKED | NOTIFIED | SCAN) == PARKED", "word & (NOTIFIED | SCAN) == 0"),
    ("fiber/state.rs", "fn notify_here", "Ordering::Acquire", "Ordering::Relaxed"),
    ("fiber/state.rs", "fn notify_here", "(self.0).compare_exchange(word, now, Ordering::Acquire, Ordering::Relaxed)",
     "{ self.0.store(now, Ordering::Release); Ok::<u32, u32>(word) }"),
    ("fiber/state.rs", "fn notify_here", "return Some(called & (TOKEN | WOKEN));", "return Some(0);"),
    ("fiber/state.rs", "fn notify_here", "self.notify(reason).then_some(0)", "None"),
    # Waits of `sync`
    ("park/waker.rs", "fn pick_up", "false => Some(waker.clone()),", "false => Some(waker),"),
    ("sync/wait_list.rs", "fn grant_first", "links(place).waker.take().and_then(pick_up)", "links(place).waker.take()"),
    ("sync/wait_list.rs", "fn is_granted", "Ordering::Acquire", "Ordering::Relaxed"),
    ("sync/wait_list.rs", "fn grant_first", "Ordering::Release", "Ordering::Relaxed"),
    ("sync/raw_mutex.rs", "fn try_lock(", "Ordering::Acquire, Ordering::Relaxed", "Ordering::Relaxed, Ordering::Relaxed"),
    ("sync/raw_mutex.rs", "unsafe fn unlock", "Ordering::Release, Ordering::Relaxed", "Ordering::Relaxed, Ordering::Relaxed"),
    ("sync/raw_mutex.rs", "fn poll", "mutex.state.fetch_or(WAITED_FOR, Ordering::Relaxed);\n            if mutex.try_lock()",
     "let got = mutex.try_lock();\n            mutex.state.fetch_or(WAITED_FOR, Ordering::Relaxed);\n            if got"),
    ("sync/raw_mutex.rs", "fn poll", "if this.waiting && place.is_granted()", "if false"),
    ("sync/raw_mutex.rs", "fn give_up", "if free { waiters.call_first() } else { None }",
     "{ let _ = free; None::<std::task::Waker> }"),
    ("sync/raw_mutex.rs", "fn give_up", "if place.is_granted() {", "if false {"),
    ("sync/raw_rwlock.rs", "fn add", "let (yes, no) = (Ordering::Acquire,", "let (yes, no) = (Ordering::Relaxed,"),
    ("sync/raw_rwlock.rs", "unsafe fn unlock", "Ordering::Release", "Ordering::Relaxed"),
    ("sync/raw_rwlock.rs", "unsafe fn unlock", "before & !WAITED_FOR == READER", "before == READER"),
    ("sync/raw_rwlock.rs", "unsafe fn downgrade", "if before & WAITED_FOR != 0 {", "if false {"),
    ("sync/raw_rwlock.rs", "unsafe fn downgrade", "Ordering::Release", "Ordering::Relaxed"),
    ("sync/raw_rwlock.rs", "fn poll", "lock.state.fetch_or(WAITED_FOR, Ordering::Relaxed);", ""),
    ("sync/raw_rwlock.rs", "fn give_up", "if place.is_granted() {", "if false {"),
    ("sync/condvar.rs", "fn poll", "condvar.waited_for.store(true, Ordering::Relaxed);", ""),
    ("sync/condvar.rs", "impl Drop for Notified", "self.condvar.notify_one();", ""),
    ("sync/condvar.rs", "fn give_up", "let granted = this.leave().is_some();", "let granted = this.leave().is_some() && false;"),
    ("sync/once.rs", "fn is_completed(", "Ordering::Acquire", "Ordering::Relaxed"),
    ("sync/once.rs", "fn ended", "self.state.store(now, Ordering::Release)", "self.state.store(now, Ordering::Relaxed)"),
    ("sync/once.rs", "let look = ||", "Ordering::Acquire", "Ordering::Relaxed"),
    # Inbox
    ("sched/inbox.rs", "fn push", "Ordering::Release, Ordering::Relaxed", "Ordering::Relaxed, Ordering::Relaxed"),
    ("sched/inbox.rs", "fn take", "Ordering::Acquire", "Ordering::Relaxed"),
    ("sched/inbox.rs", "fn take", "each(fiber);\n            oldest = next;",
     "each(fiber);\n            let _ = next;\n            oldest = unsafe { (*oldest).next.load(Ordering::Relaxed) };"),
    ("sched/inbox.rs", "fn push", "Err(now) => head = now,",
     "Err(now) => { self.head.store(raw, Ordering::Release); let _ = now; return }"),
    # Sleep and wake
    ("sched/inbox.rs", "fn published", "fence(Ordering::SeqCst);", ""),
    ("sched/idle.rs", "fn announce", "fence(Ordering::SeqCst);", ""),
    ("sched/idle.rs", "fn announce", "fence(Ordering::SeqCst);", "fence(Ordering::AcqRel);"),
    ("sched/idle.rs", "fn end_search", "fence(Ordering::SeqCst);", ""),
    ("sched/idle.rs", "fn end_sleep_locked", "flag.sent_to_search.store(true, Ordering::Relaxed);", ""),
    ("sched/idle.rs", "fn end_sleep_locked", "self.searchers.fetch_add(1, Ordering::Relaxed);", ""),
    ("sched/idle.rs", "fn wake_up", "let searching = flag.sent_to_search.load(Ordering::Relaxed);",
     "let searching = false;"),
    ("sched/idle.rs", "fn wake_up", "!self.end_sleep_locked(flag, false)", "false"),
    ("sched/worker.rs", "fn stop_searching", "self.shared.wake_searcher();", ""),
    ("sched/worker.rs", "if last_searcher {", "shared.wake_searcher();", ""),
    ("sched/worker.rs", "fn fall_asleep", "!remote.inbox.is_empty()", "false"),
    ("sched/worker.rs", "fn fall_asleep", "(!shared.injector.is_empty() || self.queues.has_fresh())", "false"),
    ("sched/worker.rs", "fn fall_asleep", "shared.has_fresh() && !shared.idle.has_searchers()", "false"),
    ("sched/worker.rs", "fn fall_asleep", "shared.shutdown.is_closed() != self.draining.get()", "false"),
    ("sched/worker.rs", "fn fall_asleep", "(self.draining.get() && shared.live() == 0)", "false"),
    ("sched/worker.rs", "AfterSwitch::Park)", "unsafe { fiber.header() }.park()",
     "{ let _ = unsafe { fiber.header() }.park(); false }"),
    ("sched/shared.rs", "fn send", "if self.idle.end_sleep(&remote.sleep) {", "if false {"),
    ("sched/shared.rs", "if worker.may_start() {", "return self.wake_searcher();", "return;"),
    ("sched/shared.rs", "fn spawn_outside", "self.injector.push(fiber);\n        self.wake_searcher();",
     "self.injector.push(fiber);"),
    # Placement
    ("sched/worker.rs", "fn fall_asleep", "Turn::SleepFor(holding.time_left())", "Turn::Sleep"),
    ("sched/worker.rs", "add(&remote.stats.watches", "shared.wake_searcher();", ""),
    ("sched/placement.rs", "fn look", "self.allowance += self.growth;", ""),
    # Channels, oneshot, semaphore
    ("sync/channel.rs", "fn has_ended", "self.senders == 0 && self.handed == 0", "self.senders == 0"),
    ("sync/channel/polled.rs", "fn take(", "if self.others.is_empty()", "if true"),
    ("sync/channel.rs", "fn end_receiving", "state.polled.take_some(wakers)", "false"),
    ("sync/oneshot.rs", "impl<T> Drop for Sender", "state.waker.take()", "None::<Waker>"),
    ("sync/semaphore/acquire.rs", "fn give_up", "self.semaphore.settle();", ""),
    # Shutdown and termination detection
    ("sched/shared.rs", "fn bump", "Ordering::Release)", "Ordering::Relaxed)"),
    ("sched/shared.rs", "fn live", "c.ended.load(Ordering::Acquire)", "c.ended.load(Ordering::Relaxed)"),
    ("sched/shared.rs", "fn live", "let ended: u64 = counts().map(|c| c.ended.load(Ordering::Acquire)).sum();",
     "let early: u64 = counts().map(|c| c.spawned.load(Ordering::Acquire)).sum();"
     "let ended: u64 = counts().map(|c| c.ended.load(Ordering::Acquire)).sum();"
     "#[cfg(test)] if early <= ended { return 0 }"),
    ("sched/shared.rs", "fn spawn_on", "fence(Ordering::SeqCst);", ""),
    ("sched/shared.rs", "fn spawn_on", "return self.wake_all();", "return;"),
    ("sched/shared.rs", "fn spawn_outside", "self.outside.spawned.fetch_add(1, Ordering::SeqCst)",
     "self.outside.spawned.fetch_add(1, Ordering::Relaxed)"),
    ("sched/shared.rs", "fn spawn_outside", "self.wake_all();", ""),
    ("sched/shutdown.rs", "fn close", "self.wake_all();", ""),
    ("sched/shutdown.rs", "fn drain", "fence(Ordering::SeqCst);", ""),
    ("sched/shutdown.rs", "fn drain", "if self.shared.live() > 0 {", "if false {"),
    ("sched/shutdown.rs", "fn drain", "self.shared.wake_all();", ""),
]

# Steps that a model cannot miss because another step gives the same order, and why they stay.
EQUIVALENT = [
    ("fiber/outcome.rs", "fn watch", "*slot = None;", "",
     "nobody looks at the slot again; its waker goes with the record, only later"),
    ("fiber/state.rs", "fn park", "Ordering::AcqRel", "Ordering::Release",
     "`begin` acquires what the caller published, and comes before the fiber's next look"),
    ("fiber/state.rs", "fn publish_waker", "Ordering::AcqRel", "Ordering::Release",
     "a handle that finds the fiber done asks `is_done` or `claim_waker` before it takes the result"),
    ("fiber/state.rs", "fn drop_handle", "Ordering::AcqRel", "Ordering::Acquire",
     "the body does nothing with the stage that a handle may have touched before it went"),
]

LOAD_STORE = """
fn load_store(word: &AtomicU32, keep: u32, _: Ordering) -> u32 {
    let before = word.load(Ordering::Acquire);
    word.store(before & keep, Ordering::Release);
    before
}
"""


def apply(mutant):
    file, anchor, text, replacement = mutant[:4]
    path = COPY / SRC / file
    source = (ROOT / SRC / file).read_text()
    start = source.find(anchor)
    at = source.find(text, start)
    if start < 0 or at < 0:
        return False
    source = source[:at] + replacement + source[at + len(text):]
    if "load_store(" in replacement:
        source += LOAD_STORE
    path.write_text(source)
    return True


def restore(mutant):
    shutil.copy(ROOT / SRC / mutant[0], COPY / SRC / mutant[0])


def models_fail():
    """None if all pass, else which failed first."""
    env = dict(os.environ, CARGO_TARGET_DIR=str(TARGET), RUST_BACKTRACE="0")
    env["RUSTFLAGS"] = "--cfg sisal_loom -A warnings"
    test = ["cargo", "test", "--offline", "-q", "-p", "sisal", "--lib", "--release"]
    build = subprocess.run([*test, "--no-run"], cwd=COPY, env=env, capture_output=True, text=True)
    if build.returncode != 0:
        return "does not build: " + build.stderr[-2000:]
    try:
        run = subprocess.run([*test, "loom"], cwd=COPY, env=env, capture_output=True, text=True,
                             timeout=SECONDS, errors="replace")
    except subprocess.TimeoutExpired:
        return "a model does not end"
    if run.returncode == 0:
        return None
    failed = [line.split("'")[1].split("::")[-1] for line in run.stderr.splitlines() + run.stdout.splitlines()
              if line.startswith("thread '") and "loom_" in line]
    return " ".join(dict.fromkeys(failed)) or "a model aborted"


def main():
    wanted = sys.argv[1:] or [""]
    shutil.rmtree(COPY, ignore_errors=True)
    ignored = shutil.ignore_patterns("target", ".git")
    shutil.copytree(ROOT, COPY, ignore=ignored)
    survived = unknown = caught = 0
    for mutant in MUTANTS + EQUIVALENT:
        expected = len(mutant) == 4
        name = f"{mutant[0]}: {mutant[1]}: {' '.join(mutant[2].split())} -> {' '.join(mutant[3].split()) or 'nothing'}"
        if not any(text in name for text in wanted):
            continue
        if not apply(mutant):
            print(f"NOT FOUND  {name}", flush=True)
            unknown += 1
            continue
        failed = models_fail()
        restore(mutant)
        if failed and failed.startswith("does not build"):
            print(f"NOT BUILT  {name}\n{failed}", flush=True)
            unknown += 1
        elif failed:
            print(f"caught     {name}\n           by {failed}", flush=True)
            caught += 1
        elif expected:
            print(f"SURVIVED   {name}", flush=True)
            survived += 1
        else:
            print(f"equivalent {name}\n           {mutant[4]}", flush=True)
    print(f"{caught} mutants caught, {survived} survived, {unknown} could not be made")
    sys.exit(1 if survived or unknown or not caught else 0)


if __name__ == "__main__":
    main()
