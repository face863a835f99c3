"""Loaded by every Python process that `tracewell run` starts: instruments it, whatever else happens.

The packages of the instrumentation are put at the end of the module path, so that the program's own packages always
win. Whatever fails here is written down for the report and otherwise forgotten: the program must run as without us.
"""

import os
import sys


def _write_status(status):
    """For the report of `tracewell run`, which names the folder."""
    import json

    folder = os.environ.get("TRACEWELL_RUN_STATUS")
    if folder and os.path.isdir(folder):
        status["pid"] = os.getpid()
        status["runtime"] = "Python %d.%d.%d" % sys.version_info[:3]
        with open(os.path.join(folder, "%d.json" % os.getpid()), "w") as file:
            json.dump(status, file)


def _step_aside(folder):
    """Takes this folder off the module path and loads the sitecustomize that this one hides."""
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != folder]
    hidden = sys.modules.pop("sitecustomize", None)
    try:
        import sitecustomize  # noqa: F401
    except ImportError as error:
        if hidden is not None:
            sys.modules["sitecustomize"] = hidden
        if error.name != "sitecustomize":
            raise


def _is_a_helper():
    """Package managers and Python's own helper processes are not the program."""
    words = list(getattr(sys, "orig_argv", sys.argv))[1:]
    helpers = {"pip", "pip3", "poetry", "pdm", "pipenv", "hatch", "rye", "uv", "virtualenv", "venv", "ensurepip"}
    for word in words[:3]:
        if os.path.basename(word) in helpers:
            return True
        if "multiprocessing.resource_tracker" in word:
            return True
    return False


def _hide_log_handlers():
    """Programs and frameworks look whether logging has a handler before they set up their own.

    With a handler of OpenTelemetry on the root logger, basicConfig() does nothing, werkzeug and others fall silent, and
    warnings no longer reach standard error. So it is taken off and called beside the others, where nobody sees it.
    """
    import logging

    root = logging.getLogger()
    hidden = [handler for handler in root.handlers if type(handler).__module__.startswith("opentelemetry.")]
    if not hidden:
        return
    for handler in hidden:
        root.removeHandler(handler)
    call_handlers = logging.Logger.callHandlers

    def call_all_handlers(self, record):
        call_handlers(self, record)
        # What the exporter itself logs must not be exported.
        if not record.name.startswith("opentelemetry."):
            for handler in hidden:
                if record.levelno >= handler.level:
                    handler.handle(record)

    logging.Logger.callHandlers = call_all_handlers


def _flush_on_sigterm():
    """SIGTERM ends a Python program at once, and with it the spans of the last half second.

    Only where the program leaves SIGTERM alone; its own handler replaces this one, and a forked child starts without it.
    """
    import signal
    import threading

    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return

    def flush_and_end(number, _frame):
        signal.signal(number, signal.SIG_DFL)
        try:
            from opentelemetry import trace
            from opentelemetry._logs import get_logger_provider

            for provider in (trace.get_tracer_provider(), get_logger_provider()):
                flush = getattr(provider, "force_flush", None)
                if flush is not None:
                    flush(1000)
        except Exception:
            pass
        os.kill(os.getpid(), number)

    def forget():
        if signal.getsignal(signal.SIGTERM) is flush_and_end:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, flush_and_end)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=forget)


def _instrumented():
    from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

    names = set()
    for kind in BaseInstrumentor.__subclasses__():
        instance = getattr(kind, "_instance", None)
        if instance is not None and getattr(instance, "_is_instrumented_by_opentelemetry", False):
            names.add(kind.__module__.rsplit("opentelemetry.instrumentation.", 1)[-1].split(".")[0])
    return sorted(names)


def _instrument():
    from opentelemetry.instrumentation.auto_instrumentation import initialize

    try:
        initialize(swallow_exceptions=False)
    except TypeError:
        initialize()
    _hide_log_handlers()
    _flush_on_sigterm()
    _write_status({"ok": True, "instrumented": _instrumented()})


def _start():
    _step_aside(os.path.dirname(os.path.abspath(__file__)))
    wanted = os.environ.get("TRACEWELL_RUN_PYTHON_VERSION")
    if _is_a_helper() or (wanted and wanted != "%d.%d" % sys.version_info[:2]):
        return
    packages = os.environ.get("TRACEWELL_RUN_PYTHON_PACKAGES")
    if packages and packages not in sys.path:
        sys.path.append(packages)
    try:
        _instrument()
    except BaseException as error:  # whatever it is, the program must start
        if isinstance(error, KeyboardInterrupt):
            raise
        try:
            _write_status({"ok": False, "error": "%s: %s" % (type(error).__name__, error)})
        except Exception:
            pass


_start()
