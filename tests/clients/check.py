"""Drives real OpenTelemetry SDKs against `tracewell serve` and checks that what they recorded is what comes out.

usage: check.py BINARY [--without-node]

For every protocol an SDK sends spans with one of everything; each span is then read back as OTLP JSON and compared
with what the SDK says it recorded: ids, times, names, typed attributes, events, links, status, resource, scope. The
same is asked again when the spans have moved from memory to segment files, and DuckDB counts them there.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
# Local servers only: no proxy may stand between.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
READY_SECONDS_MAX = 30
SEALED_SECONDS_MAX = 60


class Server:
    """A running `tracewell serve` over a folder, on free ports, that writes segments at once."""

    def __init__(self, binary, data):
        command = [binary, "serve", "--data-dir", str(data), "--http-listen", "127.0.0.1:0"]
        command += ["--otlp-grpc-listen", "127.0.0.1:0", "--otlp-http-listen", "127.0.0.1:0"]
        environment = dict(os.environ, TRACEWELL_STORE_HEAD_AGE_MAX="5s")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        line = self.process.stdout.readline()
        words = line.replace("http://", "").split()
        if "ready:" not in words:
            raise SystemExit(f"the server did not get ready: {line!r}")
        self.http = words[words.index("ui") + 1]
        self.grpc = words[words.index("otlp-grpc") + 1]
        self.otlp_http = words[words.index("otlp-http") + 1]

    def get(self, path):
        with OPENER.open(f"http://{self.http}{path}", timeout=30) as answer:
            return json.load(answer)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=30)
        if code != 0:
            raise SystemExit(f"the server ended with {code}")


def value(any_value):
    """An OTLP JSON value in the form of the senders."""
    ((kind, content),) = any_value.items() or (("none", None),)
    match kind:
        case "stringValue":
            return ["string", content]
        case "boolValue":
            return ["bool", content]
        case "intValue":
            return ["int", str(content)]
        case "doubleValue":
            return ["double", float(content)]
        case "bytesValue":
            import base64

            return ["bytes", base64.b64decode(content).hex()]
        case "arrayValue":
            return ["array", [value(item) for item in content.get("values", [])]]
    raise ValueError(f"unexpected value {any_value}")


def attributes(items):
    return {item["key"]: value(item["value"]) for item in items or []}


def stored_spans(answer):
    """The spans of an OTLP JSON trace by id, in the form of the senders."""
    found = {}
    for of_resource in answer["resourceSpans"]:
        for of_scope in of_resource["scopeSpans"]:
            for span in of_scope["spans"]:
                status = span.get("status", {})
                scope = of_scope.get("scope", {})
                found[span["spanId"]] = {
                    "traceId": span["traceId"],
                    "spanId": span["spanId"],
                    "parentSpanId": span.get("parentSpanId", ""),
                    "traceState": span.get("traceState", ""),
                    "name": span["name"],
                    "kind": span["kind"],
                    "start": str(span["startTimeUnixNano"]),
                    "end": str(span["endTimeUnixNano"]),
                    "status": [status.get("code", 0), status.get("message", "")],
                    "attributes": attributes(span.get("attributes")),
                    "events": [
                        [event["name"], str(event["timeUnixNano"]), attributes(event.get("attributes"))]
                        for event in span.get("events", [])
                    ],
                    "links": [
                        [link["traceId"], link["spanId"], attributes(link.get("attributes"))]
                        for link in span.get("links", [])
                    ],
                    "resource": attributes(of_resource["resource"].get("attributes")),
                    "scope": [scope.get("name", ""), scope.get("version", "")],
                }
    return found


def check_all(server, sent, where):
    """Every span that was sent is stored, equal in everything, and counted."""
    services = {service["name"]: service for service in server.get("/api/v1/services?start=now-1h&end=now%2B1h")["services"]}
    problems = []
    for service, spans in sent.items():
        counted = services.get(service, {}).get("spans")
        if counted != len(spans):
            problems.append(f"{service}: {len(spans)} spans sent, {counted} counted")
        # The shared trace in full, and a sample of the others: a request for each of 700 adds nothing.
        traces = sorted({span["traceId"] for span in spans})
        rich = {span["traceId"] for span in spans if span["name"] == "GET /cart"}
        for trace_id in rich | set(traces[::25]):
            stored = stored_spans(server.get(f"/api/v1/traces/{trace_id}"))
            for span in spans:
                if span["traceId"] != trace_id:
                    continue
                got = stored.get(span["spanId"])
                if got != span:
                    differing = [key for key in span if got is None or got[key] != span[key]]
                    shown = {key: (span[key], got and got[key]) for key in differing[:2]}
                    problems.append(f"{service}: span {span['name']} differs in {differing}: {shown}"[:2000])
        query = urllib.request.quote('{ resource.service.name = "%s" && name = "SELECT cart" }' % service)
        found = server.get(f"/api/v1/search?start=now-1h&end=now%2B1h&q={query}")
        if found["total"] != 1:
            problems.append(f"{service}: the search finds {found['total']} traces with its query, not 1")
    if problems:
        print("\n".join(problems[:20]))
        raise SystemExit(f"{where}: {len(problems)} problems")
    print(f"{where}: {sum(map(len, sent.values()))} spans of {len(sent)} clients are as they were sent")


def send(command, service, endpoint):
    started = time.monotonic()
    run = subprocess.run([*command, endpoint, service], capture_output=True, text=True, timeout=60)
    if run.returncode != 0 or "rror" in run.stderr:
        raise SystemExit(f"{service} failed:\n{run.stderr}")
    spans = json.loads(run.stdout)
    print(f"{service}: {len(spans)} spans in {time.monotonic() - started:.1f} s")
    return spans


def duckdb_count(data):
    """Rows of all span segments as DuckDB sees them, and a look at columns of several types."""
    import duckdb

    files = [str(file) for file in data.rglob("*.parquet")]
    if not files:
        return 0
    source = f"read_parquet({files}, union_by_name=true)"
    try:
        ((count,),) = duckdb.sql(f"SELECT count(*) FROM {source}").fetchall()
    except duckdb.Error as error:
        # A segment that is being written has no footer yet; one that stays unreadable fails the count in the end.
        print(f"DuckDB, for now: {str(error).splitlines()[0]}")
        return 0
    rows = duckdb.sql(
        f"""SELECT service, count(*), count(DISTINCT trace_id), min(duration_ns) >= 0, min(start_unix_nano) > '2020-01-01'
            FROM {source} GROUP BY service"""
    ).fetchall()
    if not all(durations and starts for _, _, _, durations, starts in rows):
        raise SystemExit(f"DuckDB reads times that cannot be: {rows}")
    return count


def main():
    binary, *options = sys.argv[1:]
    folder = Path(tempfile.mkdtemp(prefix="tracewell-clients-"))
    data = folder / "data"
    server = Server(binary, data)
    try:
        python = [sys.executable, str(HERE / "send.py")]
        node = ["node", str(HERE / "send.mjs")]
        clients = {
            "python-grpc": ([*python, "grpc"], server.grpc),
            "python-http": ([*python, "http"], server.otlp_http),
            "python-http-gzip": ([*python, "http-gzip"], server.otlp_http),
            "python-json": ([*python, "json"], server.otlp_http),
        }
        if "--without-node" not in options:
            clients["node-grpc"] = ([*node, "grpc"], server.grpc)
            clients["node-proto"] = ([*node, "proto"], server.otlp_http)
            clients["node-json"] = ([*node, "json"], server.otlp_http)
        sent = {service: send(command, service, endpoint) for service, (command, endpoint) in clients.items()}
        total = sum(map(len, sent.values()))
        check_all(server, sent, "at once")
        ended = time.monotonic() + SEALED_SECONDS_MAX
        while (count := duckdb_count(data)) != total:
            if time.monotonic() > ended:
                raise SystemExit(f"DuckDB counts {count} spans in the segments, {total} were sent")
            time.sleep(0.5)
        print(f"DuckDB reads the same {count} spans from the segments")
        check_all(server, sent, "from segments")
        server.stop()
        server = Server(binary, data)
        check_all(server, sent, "after a restart")
        server.stop()
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
