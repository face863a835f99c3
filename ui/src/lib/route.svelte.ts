/**
 * The address is the state: pages read `route` and change it by `go` and `patch`; back and forward work everywhere.
 */
export interface Route {
  /** Below `<base>`, without a slash at either end: ``, `trace/4bf9…`, `system`. */
  path: string;
  params: URLSearchParams;
}

function below(pathname: string): string {
  const base = new URL(document.baseURI).pathname;
  return (pathname.startsWith(base) ? pathname.slice(base.length) : pathname).replace(/^\/+|\/+$/g, '');
}

function read(): Route {
  return { path: below(location.pathname), params: new URLSearchParams(location.search) };
}

let current = $state.raw<Route>(read());

export const route = {
  get path() {
    return current.path;
  },
  get params() {
    return current.params;
  },
  get(name: string): string {
    return current.params.get(name) ?? '';
  },
};

window.addEventListener('popstate', () => (current = read()));

/** The address of a path and parameters; empty parameters are left out. */
export function href(path: string, params: Record<string, string> | URLSearchParams = {}): string {
  const all = new URLSearchParams(params instanceof URLSearchParams ? params : Object.entries(params).filter(([, v]) => v !== ''));
  // Blanks and the marks of TraceQL stay legible in the address bar where the standard lets them.
  const query = all.toString().replaceAll('%2F', '/').replaceAll('%3A', ':').replaceAll('%2C', ',');
  const url = new URL(path.replace(/^\/+/, ''), document.baseURI);
  return url.pathname + (query ? `?${query}` : '');
}

export function go(path: string, params: Record<string, string> | URLSearchParams = {}, replace = false): void {
  const url = href(path, params);
  if (url !== location.pathname + location.search) {
    try {
      history[replace ? 'replaceState' : 'pushState'](null, '', url);
    } catch {
      // Some browsers refuse more than a few changes a second: the state holds, the address follows with the next one.
      const { pathname, searchParams } = new URL(url, document.baseURI);
      current = { path: below(pathname), params: searchParams };
      return;
    }
  }
  current = read();
}

/** Changes parameters of this page; `null` and empty remove one. Replaces the history entry unless `push`. */
export function patch(changes: Record<string, string | null>, push = false): void {
  const params = new URLSearchParams(current.params);
  for (const [key, value] of Object.entries(changes)) {
    if (value === null || value === '') params.delete(key);
    else params.set(key, value);
  }
  go(current.path, params, !push);
}

/** Makes plain clicks on links of this page stay in it. */
export function interceptLinks(event: MouseEvent): void {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = (event.target as Element | null)?.closest?.('a');
  if (!link || link.target || link.hasAttribute('download') || link.origin !== location.origin) return;
  if (link.pathname.includes('/api/') || link.pathname === '/metrics') return;
  event.preventDefault();
  history.pushState(null, '', link.href);
  current = read();
  window.scrollTo(0, 0);
}
