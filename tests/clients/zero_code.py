"""Runs real Python, Node and Java programs with `tracewell run` and checks that they are instrumented and not disturbed.

usage: zero_code.py BINARY

Installs into a cache of its own, once. What is not there, or cannot be installed, is named and left out.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))

PYTHON = """
import logging, sys, threading, time, urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"hi")
    def log_message(self, *_): pass
server = HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
logging.basicConfig(format="%(levelname)s|%(message)s")
print(urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/").read().decode(), flush=True)
logging.warning("said hello")
if "wait" in sys.argv: time.sleep(60)
sys.exit(7)
"""

NODE = """
import http from "node:http";
const server = http.createServer((request, response) => response.end("hi"));
server.listen(0, "127.0.0.1", async () => {
  console.log(await (await fetch(`http://127.0.0.1:${server.address().port}/`)).text());
  if (process.argv.includes("wait")) return;
  process.exitCode = 7;
  server.close();
});
"""

JAVA = """
import com.sun.net.httpserver.*; import java.net.*; import java.net.http.*;
public class App { public static void main(String[] a) throws Exception {
  var s = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
  s.createContext("/", e -> { e.sendResponseHeaders(200, 2); e.getResponseBody().write("hi".getBytes()); e.close(); });
  s.start();
  var uri = URI.create("http://127.0.0.1:" + s.getAddress().getPort() + "/");
  System.out.println(HttpClient.newHttpClient().send(HttpRequest.newBuilder(uri).build(),
      HttpResponse.BodyHandlers.ofString()).body());
  s.stop(0); System.exit(7); } }
"""


def check(condition, what):
    if not condition:
        raise SystemExit(f"tracewell run: {what}")


def spans_of(server, service):
    query = urllib.parse.quote('{ resource.service.name = "%s" }' % service)
    with OPENER.open(f"{server}/api/v1/search?q={query}", timeout=30) as answer:
        return sum(trace["matchedSpans"] for trace in json.load(answer)["traces"])


def run(binary, server, service, command, spans):
    """The program to its end, then again until a signal."""
    wrapped = [binary, "run", "--server", server, "--install", "--service"]
    done = subprocess.run([*wrapped, service, "--", *command], capture_output=True, text=True, timeout=300)
    if "cannot install" in done.stderr:
        print(f"tracewell run: without {service}: {done.stderr.splitlines()[1]}")
        return
    check(done.returncode == 7, f"{service} ended with {done.returncode}:\n{done.stderr}")
    check(done.stdout == "hi\n", f"{service} wrote {done.stdout!r}")
    check(f"arrived from {service}:" in done.stderr, f"{service}: nothing is reported:\n{done.stderr}")
    check(spans_of(server, service) >= spans, f"{service}: {spans_of(server, service)} spans, not {spans}")
    if service == "zero-python":
        check("WARNING|said hello" in done.stderr, f"the program's own log is disturbed:\n{done.stderr}")
    if service != "zero-java":
        waiting = [*wrapped, f"{service}-ended", "--", *command, "wait"]
        process = subprocess.Popen(waiting, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        check(process.wait(timeout=60) == 143, f"{service}: SIGTERM gave {process.returncode}")
        check(spans_of(server, f"{service}-ended") >= spans, f"{service}: the last spans were lost on SIGTERM")
    print(f"tracewell run: {service} is instrumented and undisturbed")


def main():
    binary = sys.argv[1]
    folder = Path(tempfile.mkdtemp(prefix="tracewell-zero-code-"))
    ports = [flag for name in ("http", "otlp-http", "otlp-grpc") for flag in (f"--{name}-listen", "127.0.0.1:0")]
    command = [binary, "serve", "--data-dir", str(folder / "data"), "--log", "error", *ports]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        words = server.stdout.readline().split()
        url = words[words.index("ui") + 1]
        for name, text in (("app.py", PYTHON), ("app.mjs", NODE), ("App.java", JAVA)):
            (folder / name).write_text(text)
        os.environ.pop("TRACEWELL_SERVER", None)
        run(binary, url, "zero-python", [sys.executable, str(folder / "app.py")], 1)
        if shutil.which("node") and shutil.which("npm"):
            run(binary, url, "zero-node", ["node", str(folder / "app.mjs")], 2)
        if shutil.which("java"):
            run(binary, url, "zero-java", ["java", str(folder / "App.java")], 2)
    finally:
        server.terminate()
        server.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


main()
