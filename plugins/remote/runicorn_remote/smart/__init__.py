"""Smart mode: what a server's root says about its runs and artifacts is kept in a cache, the rest is brought on demand.

enumeration ──▶ sync (metadata, as often as wanted) ──▶ cache ──▶ attached to the storage root, read like any run
                      tails (events and logs of one run, when it is read) ──┘
"""
