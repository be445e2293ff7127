"""The event log: append-only streams of events, where they are, how they are read and written."""
