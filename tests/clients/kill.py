"""Kills the server with SIGKILL at random moments under load, and looks for every acknowledged span afterwards.

    python3 kill.py BINARY [--kills 200] [--seed 1]

A batch that was not acknowledged is sent again unchanged, as an exporter does. At the end every span of every batch
must be there exactly once. Needs nothing but Python.
"""

import argparse
import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

SENDERS = 4
SPANS = 20


class Server:
    """One data folder, one process after the other."""

    def __init__(self, binary, data):
        self.command = [
            binary, "serve", "--data-dir", data, "--http-listen", "127.0.0.1:0",
            "--otlp-grpc-listen", "off", "--otlp-http-listen", "127.0.0.1:0",
            # Small heads, so that kills hit sealing and merging too.
            "--set", "store.head_max=1MiB", "--set", "store.head_age_max=3s",
        ]
        self.log = open(os.path.join(data, "..", "server.log"), "ab")

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=self.log)
        line = self.process.stdout.readline().decode()
        found = re.search(r"ui http://(\S+).* otlp-http http://(\S+)", line)
        if not found:
            sys.exit(f"the server did not start: {line!r}")
        self.http, self.otlp = found.groups()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def batch(sender, number):
    """Spans of one trace, named by sender and number."""
    trace_id = f"{sender + 1:016x}{number + 1:016x}"
    now = time.time_ns()
    spans = [
        {"traceId": trace_id, "spanId": f"{index + 1:016x}", "name": f"work {index}", "kind": 2,
         "startTimeUnixNano": str(now + index), "endTimeUnixNano": str(now + index + 1000)}
        for index in range(SPANS)
    ]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": f"sender-{sender}"}}]}
    return trace_id, json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]})


def send_all(server, sender, sent, stop):
    """Sends batch after batch; each again until it is acknowledged."""
    number, connection = 0, None
    while not stop.is_set():
        trace_id, body = batch(sender, number)
        while True:
            try:
                if connection is None:
                    connection = http.client.HTTPConnection(server.otlp, timeout=10)
                connection.request("POST", "/v1/traces", body, {"content-type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                if answer.status == 200:
                    break
            except (OSError, http.client.HTTPException):
                connection = None
                time.sleep(0.01)
        sent.append(trace_id)
        number += 1


def get(server, path):
    connection = http.client.HTTPConnection(server.http, timeout=60)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    return answer.status, json.loads(body) if body else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "data")
        os.mkdir(data)
        server = Server(os.path.abspath(options.binary), data)
        server.start()
        sent, stop = [[] for _ in range(SENDERS)], threading.Event()
        senders = [threading.Thread(target=send_all, args=(server, n, sent[n], stop)) for n in range(SENDERS)]
        for thread in senders:
            thread.start()
        for kill in range(options.kills):
            time.sleep(moments.uniform(0.02, 0.6))
            server.kill()
            server.start()
            if (kill + 1) % 20 == 0:
                print(f"{kill + 1} kills, {sum(map(len, sent))} batches acknowledged", flush=True)
        stop.set()
        for thread in senders:
            thread.join()

        batches = sum(map(len, sent))
        wrong = []
        for trace_id in (trace_id for of_sender in sent for trace_id in of_sender):
            status, answer = get(server, f"/api/v1/traces/{trace_id}")
            spans = [] if status != 200 else [
                span["spanId"] for resource in answer["resourceSpans"] for scope in resource["scopeSpans"]
                for span in scope["spans"]
            ]
            if sorted(spans) != [f"{index + 1:016x}" for index in range(SPANS)]:
                wrong.append(f"{trace_id}: status {status}, {len(spans)} spans")
        status, answer = get(server, "/api/v1/services?start=0&end=now%2B1h")
        counted = sum(service["spans"] for service in answer["services"])
        server.kill()
        print(f"{options.kills} kills, {batches} batches of {SPANS} spans acknowledged, {counted} spans counted")
        if wrong or counted != batches * SPANS:
            sys.exit("\n".join(wrong[:20] + [f"{len(wrong)} traces are not what was acknowledged"]))
        print("every acknowledged span is there, none twice")


if __name__ == "__main__":
    main()
