"""Checks the table of `bench --json`: rows with their fields, all of them positive numbers."""

import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    rows = json.load(file)
assert len(rows) >= 5, f"only {len(rows)} rows"
for row in rows:
    assert row["name"] and row["peer"], row
    for field in ("ours_ns", "peer_ns", "ratio"):
        assert 0 < row[field] < 1e9, row
    print(f"{row['name']}: {row['ours_ns']:.1f} ns, {row['peer']} {row['peer_ns']:.1f} ns, {row['ratio']:.2f}")
