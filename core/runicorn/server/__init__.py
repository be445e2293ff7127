"""The HTTP server: `serve` (processes) → `app` (routes of all plugins) behind `guard` (who may call, how often)."""
