#!/usr/bin/env python3
"""HTTP clients that misbehave, for http_limits.bats: each command prints what became of it.

many HOST PORT N              N connections at once, one request on each, in reverse order
drip HOST PORT WHERE          one byte of the head or body at a time, until the server cuts it
vanish HOST PORT CONSUMER N   sends a create, reads N bytes of the answer, resets (0: closes)
raw HOST PORT                 sends standard input as it is, prints the status lines of the answers
"""

import json
import select
import socket
import struct
import sys
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


def vanish(host, port, consumer, n):
    body = json.dumps({"consumer_id": consumer, "offer_id": "local-cpu", "workload_type": "llm",
                       "reservation_hours": 1}).encode()
    s = connect(host, port)
    s.sendall(b"POST /api/v1/sessions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
              + body)
    left = int(n)
    while left > 0:
        left -= len(s.recv(left)) or left
    if int(n) > 0:  # a reset; before the first byte it could take the request with it
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()
    print("gone")


def raw(host, port):
    s = connect(host, port)
    try:
        s.sendall(sys.stdin.buffer.read())
        s.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # cut while sending: what came back counts
    for line in everything(s).split(b"\r\n"):
        if b"HTTP/1." in line:
            print(line[line.index(b"HTTP/1."):].decode())


if __name__ == "__main__":
    {"many": many, "drip": drip, "vanish": vanish, "raw": raw}[sys.argv[1]](*sys.argv[2:])
