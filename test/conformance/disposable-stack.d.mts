export function observe(Stack: unknown): string[];
