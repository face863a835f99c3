/** Sentences for screen readers, and short notes on the screen (“copied”). */
let spoken = $state('');
let note = $state('');
let timer: ReturnType<typeof setTimeout> | undefined;

export const live = {
  get spoken() {
    return spoken;
  },
  get note() {
    return note;
  },
};

export function announce(text: string): void {
  // The same sentence twice is only spoken again when the text changes.
  spoken = spoken === text ? `${text}\u00a0` : text;
}

export function notify(text: string): void {
  announce(text);
  note = text;
  clearTimeout(timer);
  timer = setTimeout(() => (note = ''), 2200);
}

export async function copy(text: string, what: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without a secure context there is no clipboard API: the old way still works.
    const area = document.createElement('textarea');
    area.value = text;
    area.className = 'offscreen';
    document.body.append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    if (!done) return notify(`could not copy ${what}`);
  }
  notify(`${what} copied`);
}
