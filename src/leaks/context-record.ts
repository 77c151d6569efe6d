import type { ContextRecord } from "../tracker";
import { ticks } from "./clock";
import type { Detector } from "./detector";
import { NOWHERE, type Place, type Site, siteOf } from "./sites";
import { capture } from "./stack";

/** The record of one context. */
export class Context implements ContextRecord {
  readonly detector: Detector;
  readonly id: number;
  readonly at = ticks();
  opened: Place;
  readonly more = undefined;
  ended = false;
  lost = false;
  /** Not private: what was moved may be another copy's. */
  movedTo: Context | undefined = undefined;

  constructor(detector: Detector, id: number) {
    this.detector = detector;
    this.id = id;
    this.opened = capture(detector.recording, "openLimit");
    if (this.opened !== undefined) detector.captures.await(this);
  }

  get over(): boolean {
    return this.ended;
  }

  read(): void {
    this.opened = this.detector.read(this.opened);
  }

  /** The context that owns now what this one owned. */
  get current(): Context {
    let context: Context = this;
    while (context.movedTo !== undefined) context = context.movedTo;
    return context;
  }

  end(): void {
    this.ended = true;
    this.opened = undefined;
    this.detector.registry.unregister(this);
  }

  moved(to: ContextRecord | undefined): void {
    this.end();
    this.movedTo = to as Context | undefined;
  }

  collected(): void {
    this.lost = true;
    this.detector.contextDropped(this);
  }

  get site(): Site {
    this.read();
    return siteOf(this.opened) ?? NOWHERE;
  }
}
