#!/usr/bin/env python3
"""Counts the cmocka tests of one run of `meson test` from its testlog.json.

Prints what failed on standard output, and "PASSED FAILED SKIPPED" on descriptor 3. A program that
crashed, timed out, or failed without naming a test counts as one failure.
"""

import json
import os
import re
import sys

RESULT = re.compile(r"^(not ok|ok) \d+ (?:- )?(.*)$")


def main():
    passed = failed = skipped = programs = 0
    with open(sys.argv[1], encoding="utf-8") as log:
        for line in log:
            run = json.loads(line)
            programs += 1
            bad = []
            for text in (run.get("stdout") or "").splitlines():
                m = RESULT.match(text)
                if not m:
                    continue
                if m.group(1) == "not ok":
                    bad.append(m.group(2))
                elif "# SKIP" in m.group(2).upper():
                    skipped += 1
                else:
                    passed += 1
            if run["result"] not in ("OK", "SKIP") and not bad:
                bad.append(f"the program itself: {run['result']}, status {run.get('returncode')}")
            failed += len(bad)
            for name in bad:
                print(f"FAIL  {run['name']}: {name}")
            if bad:
                print("\n".join((run.get("stdout") or "").splitlines()[-40:]))
                print("\n".join((run.get("stderr") or "").splitlines()[-40:]))
    if not programs:
        print("FAIL  no unit test ran")
        failed += 1
    os.write(3, f"{passed} {failed} {skipped}\n".encode())


if __name__ == "__main__":
    main()
