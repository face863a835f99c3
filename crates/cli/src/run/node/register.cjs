"use strict";
// Loaded by every Node process that `tracewell run` starts: instruments it, whatever else happens. What fails is written
// down for the report and otherwise forgotten: the program must run as without us.

const fs = require("node:fs");
const path = require("node:path");
const { createRequire } = require("node:module");
const { pathToFileURL } = require("node:url");
const { isMainThread } = require("node:worker_threads");

/** Package managers are not the program; what they start is. */
const HELPERS = new Set(["npm", "npm-cli.js", "npx", "npx-cli.js", "yarn", "yarn.js", "pnpm", "pnpm.cjs", "corepack", "corepack.js"]);

/** Modules that the instrumentations look for. ES modules are only touched where they import one of these. */
const HOOKED = [
  "http", "https", "node:http", "node:https", "net", "node:net", "dns", "node:dns", "fs", "node:fs",
  "@aws-sdk/middleware-stack", "@smithy/middleware-stack", "@smithy/smithy-client", "@grpc/grpc-js", "@hapi/hapi",
  "@nestjs/core", "@redis/client", "amqplib", "amqplib/callback_api.js", "bunyan", "cassandra-driver", "connect",
  "dataloader", "express", "fastify", "generic-pool", "graphql", "ioredis", "kafkajs", "knex", "koa", "lru-memoizer",
  "memcached", "mongodb", "mongoose", "mysql", "mysql2", "mysql2/promise", "openai", "oracledb", "pg", "pg-pool",
  "pino", "redis", "restify", "router", "socket.io", "tedious", "undici", "winston",
];

/** How long the end of a process waits for its last spans. */
const FLUSH_MS_MAX = 2000;

function writeStatus(status) {
  const folder = process.env.TRACEWELL_RUN_STATUS;
  if (!folder || !fs.existsSync(folder)) return;
  const document = { ...status, pid: process.pid, runtime: `Node ${process.version}` };
  fs.writeFileSync(path.join(folder, `${process.pid}.json`), JSON.stringify(document));
}

/** Loads what `register` of the OpenTelemetry package loads, with hooks for ES modules, and returns its shutdown. */
function instrument(load) {
  const before = process.listeners("SIGTERM");
  const module_ = require("node:module");
  if (typeof module_.register === "function") {
    const hook = load.resolve("@opentelemetry/auto-instrumentations-node/register");
    const nearby = createRequire(hook).resolve("@opentelemetry/instrumentation/hook.mjs");
    module_.register(pathToFileURL(nearby).href, pathToFileURL(__filename), { data: { include: HOOKED } });
  }
  load("@opentelemetry/auto-instrumentations-node/register");
  // It listens to SIGTERM and does not end the process, which the program then survives. That is ours to do right.
  const added = process.listeners("SIGTERM").filter((listener) => !before.includes(listener));
  added.forEach((listener) => process.removeListener("SIGTERM", listener));
  return added[0];
}

async function flush(load) {
  const api = createRequire(load.resolve("@opentelemetry/auto-instrumentations-node/register"))("@opentelemetry/api");
  const provider = api.trace.getTracerProvider();
  const delegate = typeof provider.getDelegate === "function" ? provider.getDelegate() : provider;
  if (typeof delegate.forceFlush === "function") await delegate.forceFlush();
}

const atMost = (work) =>
  Promise.race([
    Promise.resolve(work).catch(() => {}),
    new Promise((resolve) => setTimeout(resolve, FLUSH_MS_MAX).unref()),
  ]);

/** A signal that would end the process ends it as soon as the last spans are sent; a program that listens itself decides. */
function flushOnSignals(load, shutdown) {
  for (const signal of ["SIGTERM", "SIGINT"]) {
    const listener = async () => {
      if (process.listenerCount(signal) > 1) {
        await atMost(flush(load));
        return;
      }
      await atMost(shutdown ? shutdown() : flush(load));
      process.removeListener(signal, listener);
      process.kill(process.pid, signal);
    };
    process.on(signal, listener);
  }
}

function start() {
  const helper = HELPERS.has(path.basename(process.argv[1] ?? ""));
  const root = process.env.TRACEWELL_RUN_NODE;
  if (!isMainThread || helper || !root) return;
  try {
    const load = createRequire(path.join(root, "package.json"));
    flushOnSignals(load, instrument(load));
    writeStatus({ ok: true });
  } catch (error) {
    try {
      writeStatus({ ok: false, error: String(error?.message ?? error).split("\n")[0] });
    } catch {
      // Nothing is left to be done.
    }
  }
}

start();
