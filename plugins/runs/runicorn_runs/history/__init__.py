"""The history of runs: which events say what, what comes in masses, and what can be taken back."""
