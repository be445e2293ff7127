"""HTTP ↔ configuration, saved connections, layouts, telemetry."""
