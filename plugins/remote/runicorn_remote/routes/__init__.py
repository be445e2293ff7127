"""HTTP ↔ connections and modes."""
