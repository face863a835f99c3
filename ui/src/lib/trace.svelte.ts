/** What the trace page asks the server for: columns, logs, explanation; each with its own error and retry. */
import { untrack } from 'svelte';
import { corrected, type TraceColumns } from '../trace/columns';
import { criticalPath, type CriticalPath } from '../trace/path';
import { api, type LogRecord } from './api';
import { explain, type Explanation, type PathStep } from './explain';
import { plural } from './format';
import { announce, notify } from './live.svelte';

export class TraceData {
  /** As sent. */
  raw = $state.raw<TraceColumns | null>(null);
  error = $state.raw<unknown>(null);
  logs = $state.raw<LogRecord[] | null>(null);
  logsError = $state.raw<unknown>(null);
  explanation = $state.raw<Explanation | null>(null);
  explanationError = $state.raw<unknown>(null);
  refreshing = $state(false);
  private attempt = $state(0);
  private logsAttempt = $state(0);
  private explainAttempt = $state(0);

  /** Must be made while a component is: what it asks for ends with it. `clocks`: whether times are shown corrected. */
  constructor(
    readonly traceId: string,
    private readonly clocks: () => boolean,
  ) {
    $effect(() => this.loadColumns());
    $effect(() => this.loadLogs());
    $effect(() => this.loadExplanation());
  }

  /** As shown. */
  trace = $derived.by(() => (this.raw && this.clocks() ? corrected(this.raw) : this.raw));

  /** The critical path, and the path to completion, in the times that are shown. */
  path = $derived.by(() => this.pathOf(this.explanation?.critical_path));
  completion = $derived.by(() => this.pathOf(this.explanation?.completion_path));

  /** The server tells paths in corrected times, from the start of the trace as sent. */
  private pathOf(steps: readonly PathStep[] | undefined): CriticalPath | null {
    const { trace, raw } = this;
    if (!trace || !raw || !steps || steps.length === 0) return null;
    const right = corrected(raw);
    const origin = Number(right.startUnixNano - raw.startUnixNano);
    const path = criticalPath(right, origin === 0 ? steps : steps.map((step) => ({ ...step, offset: step.offset - origin })));
    if (trace !== raw || !raw.correction) return path;
    const from = path.from.slice();
    const to = path.to.slice();
    path.spans.forEach((span, place) => {
      for (let i = path.first[place]!; i < path.first[place + 1]!; i++) {
        const by = raw.correction![span]! + origin;
        from[i] = from[i]! + by;
        to[i] = to[i]! + by;
      }
    });
    return { ...path, from, to };
  }

  retry(): void {
    this.attempt++;
  }

  retryLogs(): void {
    this.logsAttempt++;
  }

  retryExplanation(): void {
    this.explainAttempt++;
  }

  /** Looks for spans that arrived since; what is open, folded and zoomed stays, because the address keeps it. */
  refresh(): void {
    this.refreshing = true;
    this.attempt++;
    this.logsAttempt++;
    this.explainAttempt++;
  }

  private loadColumns(): () => void {
    void this.attempt;
    const abort = new AbortController();
    this.error = null;
    api.columns(this.traceId, abort.signal).then(
      (t) => {
        const before = untrack(() => this.raw?.spanCount);
        this.refreshing = false;
        if (before === t.spanCount) return notify('no new spans');
        this.raw = t;
        announce(`trace with ${plural(t.spanCount, 'span')} loaded`);
      },
      (e: unknown) => {
        if (abort.signal.aborted) return;
        this.refreshing = false;
        this.error = e;
      },
    );
    return () => abort.abort();
  }

  private loadLogs(): (() => void) | void {
    void this.logsAttempt;
    if (!this.raw) return;
    const abort = new AbortController();
    this.logsError = null;
    api.traceLogs(this.traceId, abort.signal).then(
      (a) => (this.logs = a.logs),
      (e: unknown) => !abort.signal.aborted && (this.logsError = e),
    );
    return () => abort.abort();
  }

  private loadExplanation(): (() => void) | void {
    void this.explainAttempt;
    if (!this.raw) return;
    const abort = new AbortController();
    this.explanationError = null;
    explain.trace(this.traceId, abort.signal).then(
      (e) => (this.explanation = e),
      (e: unknown) => !abort.signal.aborted && (this.explanationError = e),
    );
    return () => abort.abort();
  }
}
