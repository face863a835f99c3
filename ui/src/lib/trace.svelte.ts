/** What the trace page asks the server for: columns, logs, explanation; each with its own error and retry. */
import { untrack } from 'svelte';
import { corrected, type TraceColumns } from '../trace/columns';
import { criticalPath } from '../trace/path';
import { api, type LogRecord } from './api';
import { explain, type Explanation } from './explain';
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

  /** The critical path in the times that are shown: the server tells it in corrected times from the start as sent. */
  path = $derived.by(() => {
    const { trace, raw, explanation } = this;
    if (!trace || !raw || !explanation || explanation.critical_path.length === 0) return null;
    const ahead = Number(trace.startUnixNano - raw.startUnixNano);
    const base = criticalPath(corrected(raw), shifted(explanation.critical_path, raw.correction ? Number(corrected(raw).startUnixNano - raw.startUnixNano) : 0));
    if (trace !== raw || !raw.correction) return base;
    const from = base.from.slice();
    const to = base.to.slice();
    const origin = Number(corrected(raw).startUnixNano - raw.startUnixNano);
    base.spans.forEach((span, place) => {
      for (let i = base.first[place]!; i < base.first[place + 1]!; i++) {
        const by = raw.correction![span]! + origin - ahead;
        from[i] = from[i]! + by;
        to[i] = to[i]! + by;
      }
    });
    return { ...base, from, to };
  });

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

function shifted(steps: Explanation['critical_path'], origin: number) {
  return origin === 0 ? steps : steps.map((step) => ({ ...step, offset: step.offset - origin }));
}
