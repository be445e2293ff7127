"""The history of artifacts: which events say what, and what can be taken back."""
