"""`runicorn demo`: a small real training that logs live. Needs numpy only; nothing is downloaded."""
