import { describe, expect, it } from 'vitest';
import { chainMarks, type DemoFault, type DemoState } from './demo';

const fault = (on: boolean, services: string[], edge: DemoFault['verdict']['edge'] = null) => ({ on, services, verdict: { edge } }) as DemoFault;
const shop = (...faults: DemoFault[]) => ({ chain: ['a', 'b', 'c', 'd'], faults }) as DemoState;

describe('marks on the chain', () => {
  it('are where a fault is on: at its hop, else at its services', () => {
    const marks = chainMarks(shop(fault(true, ['b', 'c'], { caller: 'b', callee: 'c' }), fault(true, ['d', 'elsewhere']), fault(false, ['a'])));
    expect([...marks.hops]).toEqual([1]);
    expect([...marks.services]).toEqual([3]);
  });

  it('fall back to the services where the hop is not on the chain', () => {
    const marks = chainMarks(shop(fault(true, ['a'], { caller: 'a', callee: 'd' })));
    expect([...marks.hops]).toEqual([]);
    expect([...marks.services]).toEqual([0]);
  });
});
