export function costTable(results: string): string;
export function withCosts(readme: string, results: string): string;
export function refreshReadme(): void;
