"""Following a remote root: its files arrive here by append and by atomic replacement, live and for good.

enumeration ──▶ plan (what to do with a file) ──▶ copying (append, replace) ──▶ state (what was done, on disk)
                                └── claims: which run or artifact here belongs to which source
"""
