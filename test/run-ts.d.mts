import type { Plugin } from "esbuild";

export interface PackagesOptions {
  /** "lastref" means the files of src/ instead of the built package. */
  readonly source?: boolean;
}

export function sourceOf(entry: string): string;
export function packages(options?: PackagesOptions): Plugin;
export function bundle(entry: string, outfile: string, options?: PackagesOptions): Promise<void>;
