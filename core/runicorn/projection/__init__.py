"""Read models: projections of the event log into SQLite, and the process that keeps them current.

Where an event goes: `projector` (loop) → `catch_up` (one stream) → `model` (one SQLite file, one transaction) →
the projections in it. API workers read through `reading` and wake the projector through `client`.
"""
