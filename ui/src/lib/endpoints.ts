/** Where to send OTLP, as `GET /api/v1/status` says; the usual ports where it does not. */
export interface Endpoints {
  http: string;
  grpc: string;
}

/** `status.listeners` maps names to addresses; receivers may carry their own. */
function addresses(status: Record<string, unknown> | null): [string, string][] {
  const list: [string, string][] = [];
  const listeners = status?.['listeners'];
  if (typeof listeners === 'object' && listeners !== null) {
    for (const [name, address] of Object.entries(listeners)) if (typeof address === 'string') list.push([name, address]);
  }
  const receivers = status?.['receivers'];
  if (Array.isArray(receivers)) {
    for (const r of receivers as ({ name?: unknown; address?: unknown } | null)[]) {
      if (typeof r?.name === 'string' && typeof r.address === 'string') list.push([r.name, r.address]);
    }
  }
  return list;
}

export function endpoints(status: Record<string, unknown> | null, host: string): Endpoints {
  const all = addresses(status);
  const pick = (kind: string, port: number) => {
    const found = all.find(([name]) => /otlp/i.test(name) && name.toLowerCase().includes(kind));
    return reachable(found?.[1] ?? `${host || 'localhost'}:${port}`, host);
  };
  return { http: pick('http', 4318), grpc: pick('grpc', 4317) };
}

/** An address to listen on is not always one to send to: “all interfaces” becomes the host of this page. */
function reachable(address: string, host: string): string {
  const plain = address.replace(/^[a-z]+:\/\//, '');
  const at = plain.lastIndexOf(':');
  const name = plain.slice(0, at);
  const target = name === '0.0.0.0' || name === '[::]' || name === '' ? host || 'localhost' : name;
  return `http://${target}${plain.slice(at)}`;
}
