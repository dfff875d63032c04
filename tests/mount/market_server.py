"""A search API of Vast.ai's shape for market.bats: pages of at most CAP rows by price, templates, an account.

market_server.py READY LOG TEMPLATES [CAP]: writes its port to READY, every request to LOG, and answers
templates from the file TEMPLATES, but only once the file LOG.go exists. The file LOG.rows holds lines
"ID MODEL PRICE MACHINE", read anew for every search; LOG.status, if there, is the status of every search. If LOG.raw is there, a
search answers all lines as they are, whatever was asked for.
"""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

READY, LOG, TEMPLATES = sys.argv[1:4]
CAP = int(sys.argv[4]) if len(sys.argv) > 4 else 64


def read(suffix, default=""):
    try:
        with open(LOG + suffix, encoding="utf-8") as f:
            return f.read()
    except FileNotFoundError:
        return default


def row(line, bid):
    words = line.split()
    number, price, machine = words[0], float(words[-2]), words[-1]
    model = " ".join(words[1:-2])
    price = round(price / 2, 6) if bid else price
    return {"id": int(number), "ask_contract_id": int(number), "gpu_name": model, "num_gpus": 1,
            "gpu_ram": 24564, "dph_total": price, "dph_base": price, "min_bid": price / 2 if not bid else price,
            "is_bid": bid, "storage_cost": 0.1, "disk_space": 500.0, "machine_id": int(machine),
            "reliability2": 0.99, "cuda_max_good": 12.8, "duration": 864000.0, "geolocation": "Ontario, CA",
            "rentable": True, "rented": False, "verification": "verified", "resource_type": "gpu"}


def search(query):
    bid = query["type"] == "bid"
    rows = [row(line, bid) for line in read(".rows").splitlines()]
    if os.path.exists(LOG + ".raw"):
        return {"offers": rows}
    models = query.get("gpu_name", {}).get("in")
    low = query.get("dph_total", {}).get("gte", 0)
    rows = [r for r in rows if r["dph_total"] >= low and (not models or r["gpu_name"] in models)]
    rows.sort(key=lambda r: r["dph_total"])
    return {"offers": rows[:min(CAP, query["limit"])]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def note(self, body=""):
        with open(LOG, "a", encoding="utf-8") as f:
            f.write(f"{self.command} {self.path} {body}\n")

    def do_GET(self):
        self.note()
        if self.path.startswith("/api/v0/template/"):
            while not os.path.exists(LOG + ".go"):
                time.sleep(0.01)
            with open(TEMPLATES, encoding="utf-8") as f:
                self.answer(200, json.load(f))
        elif self.path.startswith("/api/v0/users/current/"):
            self.answer(200, {"id": 1, "credit": 12.5})
        elif self.path.startswith("/api/v1/instances/"):
            self.answer(200, {"success": True, "instances_found": 0, "total_instances": 0,
                              "instances": [], "next_token": None})
        else:
            self.answer(404, {"success": False, "error": "not_found", "msg": "no such route"})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.note(body)
        status = int(read(".status", "200"))
        self.answer(status, search(json.loads(body)) if status == 200 else {"success": False, "msg": "trouble"})


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
with open(READY + ".new", "w", encoding="utf-8") as f:
    f.write(str(server.server_port))
os.rename(READY + ".new", READY)
server.serve_forever()
