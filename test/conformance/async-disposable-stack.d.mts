export function observe(Stack: unknown): Promise<string[]>;
