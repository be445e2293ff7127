"""Live events: what happens to runs and artifacts, told to clients within milliseconds.

notices.py   commits → notices                    recent.py   the last notices, for clients that resume or are slow
filters.py   what a client wants to hear          hub.py      reads once, tells all; metrics at most ten times a second
stream.py    what one client gets, in which order, and when it ends
"""
