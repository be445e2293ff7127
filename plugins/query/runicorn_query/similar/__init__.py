"""Similar runs: a vector per run, from its metric curves and its configuration, and the nearest ones of others.

    events, configuration ── features ──▶ vector ── writer ──▶ a SQLite file in the state directory ── nearest ──▶ answer

The recipe and its sources are in `docs/similar.md`. A vector is a function of the log alone: built again, it is the same.
"""
