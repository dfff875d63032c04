#!/usr/bin/env python3
"""Arrows go one way (architecture.md): who may include what, checked from the #includes.

The table below is the rule. A room may include its own headers, the listed headers of other
rooms, and any system header that belongs to no library in LIBRARIES, unless the room lists it.
Prints every arrow that goes the wrong way and ends with 1 if there is one.
"""

import os
import re
import sys

LIBRARIES = {
    "uv": r"uv(\.h|/)",
    "curl": r"curl/",
    "sqlite": r"sqlite3",
    "fuse": r"fuse(_|\.h|3?/)",
    "ssh": r"libssh",
    "http": r"microhttpd",
    "json": r"jansson",
    "crypto": r"openssl/",
}

# room: (folder, headers of others as prefixes, libraries). The first folder that fits is the room.
ROOMS = {
    "core": ("src/core", [], ["json", "crypto"]),
    "engine": ("src/engine", ["src/core/"], []),
    "io": ("src/io", ["src/core/", "src/engine/world.h"],
           ["uv", "curl", "sqlite", "ssh", "crypto"]),
    "http": ("src/http", ["src/core/", "src/engine/engine.h", "src/engine/world.h"],
             ["uv", "http", "json"]),
    "fs": ("fs", ["src/core/", "src/engine/engine.h", "src/engine/world.h"], ["uv", "fuse"]),
    "providers": ("providers", ["src/core/", "src/engine/world.h"], ["json"]),
    # start-up wires the rooms together, so it may know the door of each, and no inside
    "start": ("src", ["src/core/", "src/engine/engine.h", "src/engine/world.h",
                      "src/engine/cloud.h", "src/io/io.h", "fs/mount.h",
                      "providers/providers.h", "src/http/http.h"], ["uv"]),
}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def room_of(path):
    for name, (folder, _, _) in ROOMS.items():
        if path.startswith(folder + "/"):
            return name
    return None


def sources(root):
    for top in ("src", "fs", "providers"):
        for folder, _, files in os.walk(os.path.join(root, top)):
            for name in sorted(files):
                if name.endswith((".c", ".h")):
                    yield os.path.relpath(os.path.join(folder, name), root)


def refusal(root, path, kind, what):
    """Why `path` may not include `what`, or None."""
    room = room_of(path)
    _, headers, libraries = ROOMS[room]
    near = os.path.normpath(os.path.join(os.path.dirname(path), what))
    if kind == '"' and os.path.exists(os.path.join(root, near)):
        if near.startswith(".."):
            return "is outside of the repository"
        if room_of(near) == room or any(near.startswith(h) for h in headers):
            return None
        return f"{room} may not know {near}"
    if kind == '"':
        return "is not there, seen from this file"
    for library, pattern in LIBRARIES.items():
        if re.match(pattern, what) and library not in libraries:
            return f"{room} may not use the library {library}"
    return None


def main():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    wrong, files = 0, 0
    for path in sources(root):
        files += 1
        with open(os.path.join(root, path), encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                m = INCLUDE.match(line)
                why = refusal(root, path, *m.groups()) if m else None
                if why:
                    wrong += 1
                    print(f"{path}:{number}: {m.group(2)}: {why}")
    if not files:
        print("layers: there is nothing to check")
        return 1
    print(f"layers: {files} files, {wrong} arrows the wrong way")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
