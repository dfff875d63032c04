#!/usr/bin/python3
"""What a shell cannot do: single system calls with their errno, threads, poll, mmap, signals.

Every command prints plain lines; a refused system call prints `ERRNO CALL` (such as `EINVAL write`)
and is no failure of this program: the test compares. Used by tests/mount/*.bats.
"""
import ctypes
import errno
import json
import mmap
import os
import select
import signal
import stat
import sys
import threading


def name(e):
    return errno.errorcode.get(e.errno, str(e.errno))


def step(call, function, *args):
    """Run one system call; on a refusal print it and end."""
    try:
        return function(*args)
    except OSError as e:
        print(name(e), call, flush=True)
        sys.exit(0)


def write(path, *how):
    """One write(2) of standard input. how: append, keep (no O_TRUNC), twice."""
    flags = os.O_WRONLY
    flags |= os.O_APPEND if "append" in how else 0
    flags |= 0 if "append" in how or "keep" in how else os.O_TRUNC
    data = sys.stdin.buffer.read()
    fd = step("open", os.open, path, flags)
    step("write", os.write, fd, data)
    if "twice" in how:
        step("write", os.write, fd, data)
    step("close", os.close, fd)
    print("ok")


def lines(path):
    """One write(2) a line of standard input through one descriptor, going on after a refusal."""
    fd = step("open", os.open, path, os.O_WRONLY | os.O_TRUNC)
    for line in sys.stdin.buffer:
        try:
            os.write(fd, line)
            print("ok", flush=True)
        except OSError as e:
            print(name(e), flush=True)
    step("close", os.close, fd)


def threads(path):
    """Open in one thread, write in another, close in a third."""
    data = sys.stdin.buffer.read()
    fd = []

    def run(function):
        t = threading.Thread(target=function)
        t.start()
        t.join()

    run(lambda: fd.append(os.open(path, os.O_WRONLY | os.O_TRUNC)))
    run(lambda: os.write(fd[0], data))
    run(lambda: os.close(fd[0]))
    print("ok")


def two_writers(path, first, second):
    """Two descriptors at once; first writes, second writes, then they close in that order."""
    a = os.open(path, os.O_WRONLY | os.O_TRUNC)
    b = os.open(path, os.O_WRONLY | os.O_TRUNC)
    for fd, text in ((a, first), (b, second)):
        try:
            os.write(fd, text.encode())
            print("ok")
        except OSError as e:
            print(name(e), "write")
    for fd in (a, b):
        try:
            os.close(fd)
            print("ok")
        except OSError as e:
            print(name(e), "close")


def hold_open(path, flags="w"):
    """Open, say so, keep it open until standard input ends; then close without a word."""
    how = {"w": os.O_WRONLY, "t": os.O_WRONLY | os.O_TRUNC, "r": os.O_RDONLY}[flags]
    fd = step("open", os.open, path, how)
    print("open", flush=True)
    for line in sys.stdin.buffer:
        try:
            os.write(fd, line)
            print("ok", flush=True)
        except OSError as e:
            print(name(e), flush=True)
    step("close", os.close, fd)


def read(path, size="1", *how):
    """Read to the end, `size` bytes at a time. how: nonblock."""
    flags = os.O_RDONLY | (os.O_NONBLOCK if "nonblock" in how else 0)
    fd = step("open", os.open, path, flags)
    text = b""
    while True:
        part = step("read", os.read, fd, int(size))
        if not part:
            break
        text += part
    sys.stdout.buffer.write(text)


def call(what, *args):
    """One call by its name: mkdir, rmdir, unlink, rename, link, symlink, mknod, truncate, …"""
    calls = {
        "mkdir": lambda p, mode="777": os.mkdir(p, int(mode, 8)),
        "rmdir": os.rmdir,
        "unlink": os.unlink,
        "rename": os.rename,
        "link": os.link,
        "symlink": os.symlink,
        "mknod": lambda p: os.mknod(p, stat.S_IFREG | 0o644),
        "mkfifo": os.mkfifo,
        "create": lambda p: os.close(os.open(p, os.O_WRONLY | os.O_CREAT, 0o644)),
        "open": lambda p, how="r": os.close(
            os.open(p, {"r": os.O_RDONLY, "w": os.O_WRONLY, "rw": os.O_RDWR}[how])),
        "truncate": lambda p, n: os.truncate(p, int(n)),
        "ftruncate": lambda p, n: os.ftruncate(os.open(p, os.O_WRONLY), int(n)),
        "chmod": lambda p, mode: os.chmod(p, int(mode, 8)),
        "chown": lambda p, uid, gid: os.chown(p, int(uid), int(gid)),
        "utime": lambda p: os.utime(p),
        "stat": os.stat,
        "listdir": os.listdir,
        "readlink": os.readlink,
    }
    # A name may hold bytes that no argument of a shell can: \xNN stands for them.
    args = [a.encode().decode("unicode_escape").encode("latin-1") if "\\x" in a else a
            for a in args]
    step(what, calls[what], *args)
    print("ok")


RENAME_EXCHANGE = 2


def exchange(a, b):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, a.encode(), -100, b.encode(), RENAME_EXCHANGE):
        print(errno.errorcode[ctypes.get_errno()], "renameat2")
    else:
        print("ok")


def poll(path, count="1"):
    """Arm so many pollers on one file (each its own descriptor and thread); print what each got."""
    fds = [os.open(path, os.O_RDONLY) for _ in range(int(count))]
    pollers = []
    for fd in fds:
        if "/wait/" not in path:
            os.read(fd, 4096)
        p = select.poll()
        # state is always readable (tree.md): ask for the change alone.
        p.register(fd, select.POLLIN if "/wait/" in path else select.POLLPRI)
        pollers.append((fd, p))
    results = [None] * len(fds)

    def run(i, fd, p):
        events = p.poll(60000)
        results[i] = events[0][1] if events else None

    ts = [threading.Thread(target=run, args=(i, fd, p)) for i, (fd, p) in enumerate(pollers)]
    print("ready now", sum(1 for _, p in pollers if p.poll(0)), flush=True)
    for t in ts:
        t.start()
    print("armed", flush=True)
    for t in ts:
        t.join()
    bits = (("IN", select.POLLIN), ("PRI", select.POLLPRI), ("ERR", select.POLLERR))
    for i, fd in enumerate(fds):
        words = [w for w, b in bits if results[i] and results[i] & b] or ["nothing"]
        try:
            text = os.pread(fd, 4096, 0).decode().strip()
        except OSError as e:
            text = name(e)
        print(" ".join(words), text)


def wait_read(path, *how):
    """Open, say so, then read to the end. how: hold = read only after standard input ended."""
    fd = step("open", os.open, path, os.O_RDONLY)
    print("open", flush=True)
    if "hold" in how:
        sys.stdin.buffer.read()
    while part := step("read", os.read, fd, 65536):
        sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()


def map_file(path):
    """What mmap(2) of the file shows, private and (where allowed) shared."""
    fd = os.open(path, os.O_RDONLY)
    size = os.fstat(fd).st_size
    for how in (mmap.MAP_PRIVATE, mmap.MAP_SHARED):
        try:
            m = mmap.mmap(fd, size, flags=how, prot=mmap.PROT_READ)
            sys.stdout.buffer.write(m[:])
            m.close()
        except OSError as e:
            # direct_io files cannot be mapped shared; private maps work (measured).
            if how == mmap.MAP_PRIVATE:
                print(name(e), "mmap")


def sizes(top):
    """Every readable file below top: st_size of the open file is what can be read from it."""
    n = 0
    for folder, _, files in os.walk(top):
        for f in files:
            path = os.path.join(folder, f)
            if os.path.islink(path):
                continue
            try:
                fd = os.open(path, os.O_RDONLY)
            except OSError as e:
                if e.errno in (errno.EACCES, errno.ENOENT):
                    continue
                raise
            size = os.fstat(fd).st_size
            text = b""
            while part := os.read(fd, 65536):
                text += part
            os.close(fd)
            n += 1
            if size != len(text):
                print(f"{path}: st_size {size}, but {len(text)} bytes")
    print("files", n)


def schema(top, *names):
    """Every row of schema.json is there, with its type and mode, and nothing else is. names:
    PATTERN=NAME says which object stands for a pattern, such as sessions/NAME=sessions/x;
    PATTERN= that there is none here."""
    # Longest first: history/last/NAME is no history/ID.
    places = sorted((n.split("=", 1) for n in names), key=lambda n: -len(n[0]))
    kinds = {"directory": stat.S_IFDIR, "link": stat.S_IFLNK}
    seen = set()
    with open(f"{top}/schema.json", encoding="utf-8") as f:
        rows = [json.loads(line) for line in f]
    for row in rows:
        pattern = row["path"]
        path = pattern
        for where, what in places:
            if pattern == where or pattern.startswith(where + "/"):
                path = what + pattern[len(where):]
                break
        if path:
            seen.add(path)
        if len(row["doc"]) < 5 or not row["type"]:
            print(pattern, "has no doc or no type")
        if not path:
            continue
        try:
            st = os.lstat(f"{top}/{path}")
        except OSError as e:
            print(path, name(e))
            continue
        if stat.S_IFMT(st.st_mode) != kinds.get(row["type"], stat.S_IFREG):
            print(path, "is no", row["type"])
        if stat.S_IMODE(st.st_mode) != int(row["mode"], 8):
            print(path, f"{stat.S_IMODE(st.st_mode):04o} is not", row["mode"])
    print("rows", len(rows))
    objects = [what for _, what in places if what]
    for where in ["."] + objects:
        if os.path.islink(f"{top}/{where}"):
            continue
        for entry in os.listdir(f"{top}/{where}"):
            path = os.path.normpath(f"{where}/{entry}")
            parent = os.path.dirname(path)
            if path in seen or any(os.path.dirname(w) == parent for w in objects):
                continue
            print(path, "is listed and has no row")


def twins(folder):
    """info, info.json and the files of an object say the same; values are one line or nothing."""
    def text_of(path):
        with open(f"{folder}/{path}", encoding="utf-8") as f:
            return f.read()

    for _ in range(5):  # a value of the clock may tick between two reads
        info, data = text_of("info"), json.loads(text_of("info.json"), parse_float=str)
        wrong = []
        if text_of("info.json").count("\n") != 1:
            wrong.append("info.json is not one line")
        flat = dict(line.split(" ", 1) for line in info.splitlines())
        if list(flat) != list(data):
            wrong.append(f"keys differ: {set(flat) ^ set(data)}")
        for key, value in flat.items():
            path = key if os.path.exists(f"{folder}/{key}") else key.replace("_", "/", 1)
            if text_of(path) != value + "\n":
                wrong.append(f"{path}: {text_of(path)!r}, but info says {value!r}")
            other = data.get(key)
            other = str(int(other)) if isinstance(other, bool) else str(other)
            if other != value:
                wrong.append(f"{key}: info {value!r}, info.json {other!r}")
        if not wrong:
            break
    print("\n".join(wrong) if wrong else f"same {len(flat)}")


def interrupt(path):
    """A reader of path is stopped by a signal while it waits: print how its read ended."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGUSR1, lambda *_: (_ for _ in ()).throw(InterruptedError()))
        fd = os.open(path, os.O_RDONLY)
        os.write(w, b"x")
        try:
            os.read(fd, 100)
            os.write(w, b"answered")
        except InterruptedError:
            os.write(w, b"EINTR")
        except OSError as e:
            os.write(w, name(e).encode())
        os._exit(0)
    os.read(r, 1)
    state = "R"
    while state != "S":  # until it sleeps, which it can do in the read alone
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            state = f.read().rsplit(")", 1)[1].split()[0]
        if state == "Z":
            break
    os.kill(pid, signal.SIGUSR1)
    print(os.read(r, 100).decode())
    os.waitpid(pid, 0)


def main():
    commands = {
        "wait-read": wait_read, "schema": schema, "twins": twins,
        "write": write, "lines": lines, "threads": threads, "two-writers": two_writers,
        "hold-open": hold_open, "read": read, "call": call, "exchange": exchange,
        "poll": poll, "mmap": map_file, "sizes": sizes, "interrupt": interrupt,
    }
    commands[sys.argv[1]](*sys.argv[2:])


if __name__ == "__main__":
    main()
