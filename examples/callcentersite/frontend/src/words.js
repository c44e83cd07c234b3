// How values read on the page.

export function state(health) {
  if (health === null) return "asking…";
  return health.ok ? "all databases answer" : "a database does not answer";
}

export function percent(value) {
  return value === null ? "–" : `${value.toFixed(1)} %`;
}

export function talk(seconds) {
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${String(seconds % 60).padStart(2, "0")}`;
}
