/**
 * Colours of services: a name leads to the same colour on every page; only where two services of one trace would share it
 * does the later one move on to a free colour. Red is left to errors.
 */

export const PALETTE_SIZE = 20;

/** Hues in degrees around the circle without the reds of errors; neighbours in the list lie far apart. */
const HUES = [195, 285, 140, 60, 245, 325, 110, 170, 265, 85, 220, 305, 125, 45, 180, 345, 230, 155, 275, 98];

export interface Palette {
  /** Bars: 3:1 against the background. */
  bar: string[];
  /** Text and chips: 4.5:1 against the background. */
  text: string[];
}

function palette(barL: number, textL: number, chroma: number): Palette {
  const bar: string[] = [];
  const text: string[] = [];
  HUES.forEach((hue, i) => {
    // Alternating lightness tells neighbours apart for those who see few hues.
    const shift = i % 2 === 0 ? 0 : 0.07;
    bar.push(oklchHex(barL - shift, chroma, hue));
    text.push(oklchHex(textL, chroma, hue));
  });
  return { bar, text };
}

export const LIGHT: Palette = palette(0.65, 0.46, 0.115);
export const DARK: Palette = palette(0.7, 0.8, 0.11);

/** 32-bit FNV-1a. */
export function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return h >>> 0;
}

export function colorIndex(service: string): number {
  return hash(service) % PALETTE_SIZE;
}

/** Colour index per service of one trace; collisions move on to the next free colour. */
export function assignColors(services: string[]): Uint8Array {
  const taken = new Uint8Array(PALETTE_SIZE);
  const result = new Uint8Array(services.length);
  services.forEach((service, i) => {
    let c = colorIndex(service);
    if (i < PALETTE_SIZE) while (taken[c]) c = (c + 1) % PALETTE_SIZE;
    taken[c] = 1;
    result[i] = c;
  });
  return result;
}

/** OKLCH to `#rrggbb`, clipped to sRGB (Ottosson 2020). */
export function oklchHex(l: number, c: number, hueDegrees: number): string {
  const h = (hueDegrees * Math.PI) / 180;
  const a = c * Math.cos(h);
  const b = c * Math.sin(h);
  const l3 = (l + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m3 = (l - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s3 = (l - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const rgb = [
    4.0767416621 * l3 - 3.3077115913 * m3 + 0.2309699292 * s3,
    -1.2684380046 * l3 + 2.6097574011 * m3 - 0.3413193965 * s3,
    -0.0041960863 * l3 - 0.7034186147 * m3 + 1.707614701 * s3,
  ];
  return `#${rgb
    .map((v) => {
      const x = Math.min(1, Math.max(0, v));
      const s = x <= 0.0031308 ? 12.92 * x : 1.055 * x ** (1 / 2.4) - 0.055;
      return Math.round(s * 255)
        .toString(16)
        .padStart(2, '0');
    })
    .join('')}`;
}
