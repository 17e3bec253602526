"""Turns the text of std's tests into tests of Sisal, and says how they went.

    retarget.py write LIBRARY LEFT_OUT FACE OUT   reads rust-src's `library`, writes the sources of a crate
    retarget.py check OUT WORKERS LOG             compares what ran with what should have
    retarget.py self-test

What is rewritten, and nothing else:
- each `#[test]` keeps its attributes and its body, and the body runs in a fiber (`in_a_fiber` in face.rs);
- a test that the list leaves out is taken out, with its attributes;
- `std::` becomes `crate::` in std's integration tests: the crate's root, face.rs, has Sisal's modules (and
  `fiber_local!`) under std's names. std's unit tests say `crate::` anyway;
- a private field, and a range of ports that is not free, are said in other words (SPELLINGS);
- a macro that makes one test for `std::sync::poison` and one for the unstable `std::sync::nonpoison` is expanded.
"""

import fnmatch
import json
import pathlib
import re
import sys
import unittest

# The suites: their texts below `library/`, and the modules of face.rs that they become.
SUITES = {
    "thread": {
        "std/src/thread/tests.rs": "thread::tests",
        "std/tests/thread.rs": "suites::thread",
        "std/tests/thread_local/tests.rs": "suites::thread_local::tests",
        "std/tests/thread_local/dynamic_tests.rs": "suites::thread_local::dynamic_tests",
    },
    "sync": {
        f"std/tests/sync/{name}.rs": f"suites::sync::{name}"
        for name in (
            "barrier condvar lazy_lock mpmc mpsc mpsc_sync mutex once once_lock oneshot reentrant_lock rwlock"
        ).split()
    },
    "net": {
        "std/src/net/tests.rs": "net::tests",
        "std/src/net/tcp/tests.rs": "net::tcp::tests",
        "std/src/net/udp/tests.rs": "net::udp::tests",
    },
    "os::unix::net": {
        "std/src/os/unix/net/tests.rs": "os::unix::net::tests",
    },
}

# Helpers of the tests, which are taken as they are.
HELPERS = {"std/src/test_helpers.rs": "test_helpers", "std/tests/common/mod.rs": "common"}

# What is said in other words: (what, how often it stands there, how we say it).
SPELLINGS = {
    # Ports from 32 Ki on are those that Linux gives to clients: somebody may have it.
    "std/src/net/tcp/tests.rs": [("(16 * 1024)..(48 * 1024)", 1, "(16 * 1024)..(32 * 1024)")],
    # A private field, where a user has a method.
    "std/src/net/udp/tests.rs": [
        ("udpsock.0.socket().as_raw()", 1, "crate::os::fd::AsRawFd::as_raw_fd(&udpsock)"),
    ],
}

# One test for each kind of lock; std's text has it in std/tests/sync/lib.rs.
BOTH = "nonpoison_and_poison_unwrap_test"


class Wrong(Exception):
    """The texts or the list are not what this program knows."""


# --- reading Rust ------------------------------------------------------------

LITERAL = re.compile(
    r"""
      //[^\n]*                                     # comment
    | b?c?r(?P<hashes>\#*)".*?"(?P=hashes)         # raw string
    | [bc]?"(?:[^"\\]|\\.)*"                       # string
    | b?'(?:[^'\\\n]|\\(?:u\{[^}]*\}|x..|.))'      # character; a lifetime has no closing quote
    | r\#\w+                                       # raw name
    """,
    re.VERBOSE | re.DOTALL,
)
OPEN, CLOSE = "([{", ")]}"


def step(text, at):
    """Where the comment, literal, word or character at `at` ends."""
    if text.startswith("/*", at):
        depth, at = 1, at + 2
        while depth:
            mark = re.compile(r"/\*|\*/").search(text, at)
            if not mark:
                raise Wrong("a comment without an end")
            depth, at = depth + (1 if mark[0] == "/*" else -1), mark.end()
        return at
    literal = LITERAL.match(text, at)
    if literal:
        return literal.end()
    word = re.compile(r"\w+").match(text, at)
    return word.end() if word else at + 1


def group_end(text, at):
    """Where the group of brackets that opens at `at` ends."""
    depth = 0
    while at < len(text):
        depth += (text[at] in OPEN) - (text[at] in CLOSE)
        at = step(text, at)
        if depth == 0:
            return at
    raise Wrong("a bracket without an end")


def past_space(text, at):
    """Past white space and comments."""
    while at < len(text):
        if text[at].isspace() or text.startswith("//", at) or text.startswith("/*", at):
            at = step(text, at)
        else:
            break
    return at


def items(text):
    """The items of a file: (where it begins, its attributes, where its head begins, where it ends)."""
    at = 0
    while True:
        begin = at = past_space(text, at)
        if at == len(text):
            return
        attributes = []
        while re.compile(r"#!?\s*\[").match(text, at):
            end = group_end(text, text.index("[", at))
            attributes.append(text[at:end])
            at = past_space(text, end)
        head = at
        while at < len(text):
            brace = text[at] == "{"
            semicolon = text[at] == ";"
            at = group_end(text, at) if text[at] in OPEN else step(text, at)
            if brace:
                after = past_space(text, at)
                # `use a::{b};` and `const X: T = {…};` go on to the semicolon.
                if not text.startswith(";", after):
                    break
            if semicolon:
                break
        yield begin, attributes, head, at


def is_test(attribute):
    return re.fullmatch(r"#\s*\[\s*test\s*\]", attribute) is not None


def marks_of_tests(text):
    """How often `#[test]` stands in the code of a file, at whatever depth."""
    count, at = 0, 0
    while at < len(text):
        count += re.compile(r"#\[test\]").match(text, at) is not None
        at = step(text, at)
    return count


# --- rewriting ---------------------------------------------------------------


def in_a_fiber(attributes, signature, name, body):
    """A test whose body is run by `in_a_fiber`."""
    lines = "\n".join(attributes)
    return f"{lines}\n{signature}{{\n{signature}{body}\ncrate::in_a_fiber({name})\n}}"


def both_kinds(call):
    """The name and the body that a call of the macro `BOTH` gives."""
    shape = re.match(r"\s*name:\s*(\w+)\s*,\s*test_body:\s*", call)
    if not shape or call[shape.end()] != "{":
        raise Wrong(f"{BOTH} is not called as it used to be: {call[:60]!r}")
    end = group_end(call, shape.end())
    if call[past_space(call, end) :].strip() not in ("", ","):
        raise Wrong(f"{BOTH} has more than a body: {call[end:][:60]!r}")
    return shape[1], call[shape.end() : end]


def rewrite(text, leave_out):
    """The new text of a file, and the names of the tests in it.

    `leave_out(name)` says whether a test is to be taken out.
    """
    out, last, names, marks = [], 0, [], 0
    for begin, attributes, head, end in items(text):
        new = None
        plain = re.match(r"(?:unsafe\s+)?fn\s+(\w+)", text[head:end])
        macro = re.match(BOTH + r"!\s*[({]", text[head:end])
        if plain and any(map(is_test, attributes)):
            marks += 1
            names.append(plain[1])
            brace = text.index("{", head)
            signature, body = text[head:brace], text[brace:end]
            new = "" if leave_out(plain[1]) else in_a_fiber(attributes, signature, plain[1], body)
        elif macro:
            opening = head + macro.end() - 1
            name, body = both_kinds(text[opening + 1 : group_end(text, opening) - 1])
            new = ""
            for kind, unwrap in (
                ("nonpoison", "::std::convert::identity"),
                ("poison", "crate::suites::sync::result_unwrap"),
            ):
                full = f"{kind}_{name}"
                names.append(full)
                if leave_out(full):
                    continue
                uses = (
                    f"{{ #[allow(unused_imports)] use {unwrap} as maybe_unwrap; use crate::sync::{kind} as locks; "
                )
                new += in_a_fiber(attributes + ["#[test]"], f"fn {full}() ", full, uses + body + " }") + "\n"
        if new is not None:
            out += [text[last:begin], new]
            last = end
    out.append(text[last:])
    if marks != marks_of_tests(text):
        raise Wrong(f"{marks_of_tests(text)} tests stand in the text, {marks} were found")
    # The import of the macro, which is expanded.
    new = re.sub(rf"^use super::{BOTH};$", "", "".join(out), flags=re.MULTILINE)
    return new, names


def names_crate(text):
    """`std::…` of an integration test, said of the crate's own root; and a macro that needs no import."""
    text = re.sub(r"(?<![\w:])(?:::)?std::", "crate::", text)
    return re.sub(r"(?<![\w:])thread_local!", "crate::thread_local!", text)


# --- the list of what is left out --------------------------------------------


def read_list(text):
    """Lines of `module pattern reason`, as (module, pattern, reason)."""
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        parts = line.split(None, 2)
        if len(parts) != 3:
            raise Wrong(f"the list of tests that are left out, line {number}: module, test and reason are needed")
        entries.append(tuple(parts))
    return entries


def write(library, left_out, face, out):
    entries = read_list(pathlib.Path(left_out).read_text())
    used, tests = set(), {}
    source = pathlib.Path(out) / "src"
    source.mkdir(parents=True, exist_ok=True)
    for suite, files in SUITES.items():
        for path, module in files.items():
            text = (pathlib.Path(library) / path).read_text()
            if path.startswith("std/tests/"):
                text = names_crate(text)
            for old, times, said in SPELLINGS.get(path, []):
                if text.count(old) != times:
                    raise Wrong(f"{path}: `{old}` stands there {text.count(old)} times, not {times}")
                text = text.replace(old, said)
            reasons = {}

            def leave_out(name):
                for entry in entries:
                    if fnmatch.fnmatchcase(module, entry[0]) and fnmatch.fnmatchcase(name, entry[1]):
                        used.add(entry)
                        reasons[name] = entry[2]
                        return True
                return False

            try:
                new, names = rewrite(text, leave_out)
            except Wrong as wrong:
                raise Wrong(f"{path}: {wrong}") from wrong
            # Inner attributes cannot be included: feature gates, and lints.
            new = re.sub(r"^#!\[.*\]", "", new, flags=re.MULTILINE)
            place = source / (module.replace("::", "/") + ".rs")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(new)
            for name in names:
                tests[f"{module}::{name}"] = {"suite": suite, "file": path, "left out": reasons.get(name)}
    for path, module in HELPERS.items():
        text = (pathlib.Path(library) / path).read_text()
        (source / f"{module}.rs").write_text(re.sub(r"^#!\[.*\]", "", text, flags=re.MULTILINE))
    (source / "lib.rs").write_text(pathlib.Path(face).read_text())
    for entry in entries:
        if entry not in used:
            raise Wrong(f"the list leaves out {entry[0]} {entry[1]}, which names no test")
    (pathlib.Path(out) / "tests.json").write_text(json.dumps(tests, indent=1))
    for name, test in tests.items():
        if test["left out"]:
            print(f"left out: {name}: {test['left out']}")


# --- what ran ----------------------------------------------------------------


def outcomes(log):
    """What libtest says of each test. A test may print between its name and its outcome."""
    found = dict(re.findall(r"^test (\S+)(?: - should panic)? \.\.\. (ok|ignored|FAILED)", log, re.MULTILINE))
    return found


def check(out, workers, log):
    """Prints the counts of each suite; says what is wrong, if anything is."""
    tests = json.loads((pathlib.Path(out) / "tests.json").read_text())
    ran = outcomes(pathlib.Path(log).read_text())
    wrong, total = [], 0
    for name, outcome in ran.items():
        if name not in tests or tests[name]["left out"]:
            wrong.append(f"{name} ran, and nobody knows it")
    for suite, files in SUITES.items():
        for path in files:
            mine = {name: test for name, test in tests.items() if test["file"] == path}
            passed = [name for name in mine if ran.get(name) == "ok"]
            left = [name for name, test in mine.items() if test["left out"]]
            total += len(passed)
            print(f"std's {path}, {workers}: {len(passed)} passed, {len(left)} left out")
            for name, test in mine.items():
                if not test["left out"] and ran.get(name) != "ok":
                    wrong.append(f"{name}: {ran.get(name, 'did not run')}")
    print(f"std's tests, {workers}: {total} passed, {sum(1 for t in tests.values() if t['left out'])} left out")
    for line in wrong:
        print(f"std's tests, {workers}: {line}", file=sys.stderr)
    return not wrong


# --- tests of this program ---------------------------------------------------


class SelfTest(unittest.TestCase):
    def test_a_body_runs_in_a_fiber(self):
        text = '#[test]\n#[should_panic] // why\nfn a() {\n    f("}");\n}\nfn helper() {}\n'
        new, names = rewrite(text, lambda name: False)
        self.assertEqual(names, ["a"])
        self.assertEqual(
            new,
            '#[test]\n#[should_panic]\nfn a() {\nfn a() {\n    f("}");\n}\ncrate::in_a_fiber(a)\n}\nfn helper() {}\n',
        )

    def test_a_result_stays(self):
        new, _ = rewrite("#[test] fn a() -> io::Result<()> { Ok(()) }", lambda name: False)
        self.assertEqual(new.count("-> io::Result<()>"), 2)

    def test_left_out_with_its_attributes(self):
        text = "use a::{b, c};\n/// Doc.\n#[cfg(unix)]\n#[test]\nfn a() { x }\n#[test]\nfn b() {}\n"
        new, names = rewrite(text, lambda name: name == "a")
        self.assertEqual(names, ["a", "b"])
        self.assertNotIn("fn a", new)
        self.assertNotIn("cfg", new)
        self.assertIn("use a::{b, c};", new)
        self.assertEqual(new.count("fn b"), 2)

    def test_literals_hide_brackets(self):
        for body in (
            "{ '{'; }", "{ '\\''; }", '{ "\\"{"; }', '{ r#"}"{"#; }', "{ b'{'; }", "{ /* } /* } */ { */ }",
            "{ // }\n }", "{ fn f<'a>(x: &'a u8) {} }", "{ '\\u{7d}'; }", '{ br"\\"; }', "{ x['a' as usize]; 'l: loop {} }",
        ):
            text = f"#[test]\nfn a() {body}\n#[test]\nfn b() {{}}\n"
            _, names = rewrite(text, lambda name: False)
            self.assertEqual(names, ["a", "b"], body)

    def test_both_kinds_of_lock(self):
        text = f"use super::{BOTH};\n#[cfg(x)]\n{BOTH}!(\n name: n,\n test_body: {{\n use locks::M;\n }}\n);\n"
        new, names = rewrite(text, lambda name: name.startswith("nonpoison_"))
        self.assertEqual(names, ["nonpoison_n", "poison_n"])
        self.assertNotIn("nonpoison", new)
        self.assertEqual(new.count("#[cfg(x)]"), 1)
        self.assertIn("crate::in_a_fiber(poison_n)", new)

    def test_a_test_that_is_not_found_is_an_error(self):
        with self.assertRaises(Wrong):
            rewrite("mod m { #[test] fn a() {} }", lambda name: False)
        with self.assertRaises(Wrong):
            rewrite("macro_rules! m { () => { #[test] fn a() {} } }", lambda name: False)

    def test_a_mark_in_a_comment_is_none(self):
        _, names = rewrite('// #[test]\nconst A: &str = "#[test]";', lambda name: False)
        self.assertEqual(names, [])

    def test_std_becomes_the_crate(self):
        old = "use std::{a, b}; ::std::c(); x::std::d; my_std::e; thread_local!(); std::thread_local! {}"
        new = "use crate::{a, b}; crate::c(); x::std::d; my_std::e; crate::thread_local!(); crate::thread_local! {}"
        self.assertEqual(names_crate(old), new)

    def test_the_list(self):
        self.assertEqual(read_list("# no\n\nm t_* a reason\n"), [("m", "t_*", "a reason")])
        with self.assertRaises(Wrong):
            read_list("m t\n")

    def test_outcomes(self):
        log = "test a::b ... ok\ntest c - should panic ... ok\ntest d ... FAILED\ntest e ... ignored, why\n"
        self.assertEqual(outcomes(log), {"a::b": "ok", "c": "ok", "d": "FAILED", "e": "ignored"})


def main(arguments):
    if arguments[:1] == ["self-test"]:
        done = unittest.TextTestRunner(sys.stderr, verbosity=0).run(
            unittest.defaultTestLoader.loadTestsFromTestCase(SelfTest)
        )
        return 0 if done.wasSuccessful() and done.testsRun >= 9 else 1
    try:
        if arguments[:1] == ["write"]:
            write(*arguments[1:])
            return 0
        if arguments[:1] == ["check"]:
            return 0 if check(*arguments[1:]) else 1
    except Wrong as wrong:
        print(f"std's tests: {wrong}", file=sys.stderr)
        return 1
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
