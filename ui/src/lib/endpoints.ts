/** Where to send OTLP, as `GET /api/v1/status` says; the usual ports where it does not. */
export interface Endpoints {
  http: string;
  grpc: string;
}

export interface Receiver {
  name: string;
  address: string;
}

export function receiversOf(status: Record<string, unknown> | null): Receiver[] {
  const list = status?.['receivers'];
  if (!Array.isArray(list)) return [];
  return list.filter((r): r is Receiver => typeof r === 'object' && r !== null && typeof (r as Receiver).name === 'string' && typeof (r as Receiver).address === 'string');
}

export function endpoints(status: Record<string, unknown> | null, host: string): Endpoints {
  const all = receiversOf(status);
  const pick = (kind: string, port: number) => {
    const found = all.find((r) => /otlp/i.test(r.name) && r.name.toLowerCase().includes(kind));
    return reachable(found?.address ?? `${host || 'localhost'}:${port}`, host);
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
