#!/usr/bin/env python3
"""HTTP clients that misbehave, for http_limits.bats: each command prints what became of it.

many HOST PORT N              N connections at once, one request on each, in reverse order
drip HOST PORT WHERE          one byte of the head or body at a time, until the server cuts it
vanish_all HOST PORT          a create for every number of bytes of its answer: reads so many, vanishes; each
                              session must be there with its key, and is ended; prints how many
raw HOST PORT                 sends standard input as it is, prints the status lines of the answers
whole HOST PORT               sends standard input as it is, prints the whole answer, Date masked
"""

import http.client
import json
import re
import select
import socket
import struct
import sys
import threading
import time


def connect(host, port):
    s = socket.create_connection((host, int(port)), timeout=30)
    s.settimeout(30)
    return s


def everything(s):
    data = b""
    try:
        while piece := s.recv(65536):
            data += piece
    except ConnectionResetError:
        pass
    return data


def many(host, port, n):
    socks = [connect(host, port) for _ in range(int(n))]
    good = 0
    for s in reversed(socks):
        s.sendall(b"GET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    for s in socks:
        good += everything(s).startswith(b"HTTP/1.1 200")
    print(good)


def drip(host, port, where):
    s = connect(host, port)
    if where == "body":
        s.sendall(b"POST /api/v1/sessions HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
    else:
        s.sendall(b"GET /ready HTTP/1.1\r\nX-Slow: ")
    begun = time.monotonic()
    while time.monotonic() - begun < 60:
        readable, _, _ = select.select([s], [], [], 0.02)
        try:
            if readable and not s.recv(4096):
                break
            s.sendall(b"a")
        except OSError:
            break
    print("cut" if time.monotonic() - begun < 50 else "endless")


def create(host, port, consumer):
    body = json.dumps({"consumer_id": consumer, "offer_id": "local-cpu", "workload_type": "llm",
                       "reservation_hours": 1}).encode()
    s = connect(host, port)
    s.sendall(b"POST /api/v1/sessions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
              + body)
    return s


def vanish(host, port, consumer, n):
    """Reads N bytes of the answer to a create, then resets (0: closes)."""
    s = create(host, port, consumer)
    left = int(n)
    while left > 0:
        left -= len(s.recv(left)) or left
    if int(n) > 0:  # a reset; before the first byte it could take the request with it
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def ask(c, method, path):
    c.request(method, path)
    r = c.getresponse()
    return r.status, json.loads(r.read())


def there_with_key(c, consumer):
    """The session's id once its key can be read; the order may still be on its way to the disk."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = ask(c, "GET", "/api/v1/sessions?consumer_id=" + consumer)[1]["sessions"]
        if found:
            assert len(found) == 1, found
            status, key = ask(c, "GET", "/api/v1/sessions/%s/key" % found[0]["id"])
            if status == 200:
                assert key["ssh_private_key"].startswith("-----BEGIN OPENSSH PRIVATE KEY-----"), key
                return found[0]["id"]
        time.sleep(0.005)
    raise AssertionError("no session, or no key, for " + consumer)


def vanish_all(host, port):
    c = http.client.HTTPConnection(host, int(port), timeout=60)
    s = create(host, port, "whole")
    size, answer = None, b""
    while size is None or len(answer) < size:
        answer += s.recv(65536)
        if size is None and b"\r\n\r\n" in answer:
            head = answer[:answer.index(b"\r\n\r\n") + 4]
            size = len(head) + int(re.search(rb"Content-Length: (\d+)", head).group(1))
    assert answer.startswith(b"HTTP/1.1 201 "), answer
    s.close()
    assert ask(c, "DELETE", "/api/v1/sessions/" + there_with_key(c, "whole"))[0] == 200
    # Some more leave at once: their end can come before their request had its turn.
    left = list(enumerate([0] * 50 + list(range(size))))
    want, good, lock = len(left), [], threading.Lock()

    def work():
        mine = http.client.HTTPConnection(host, int(port), timeout=60)
        while True:
            with lock:
                if not left:
                    return
                name, n = left.pop(0)
            vanish(host, port, "at%d" % name, n)
            found = there_with_key(mine, "at%d" % name)
            assert ask(mine, "DELETE", "/api/v1/sessions/" + found)[0] == 200
            good.append(n)

    workers = [threading.Thread(target=work) for _ in range(8)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    print("all" if len(good) == want and size > 800 else "%d of %d" % (len(good), want))


def answers(host, port):
    s = connect(host, port)
    try:
        s.sendall(sys.stdin.buffer.read())
        s.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # cut while sending: what came back counts
    return everything(s)


def whole(host, port):
    print(re.sub(r"Date: [^\n]*", "Date: DATE", answers(host, port).decode().replace("\r\n", "\n")))


def raw(host, port):
    for line in answers(host, port).split(b"\r\n"):
        if b"HTTP/1." in line:
            print(line[line.index(b"HTTP/1."):].decode())


if __name__ == "__main__":
    {"many": many, "drip": drip, "vanish_all": vanish_all, "raw": raw,
     "whole": whole}[sys.argv[1]](*sys.argv[2:])
