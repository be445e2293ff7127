"""Full text: log lines by an index of files beside the read models, and what the list of runs says about them.

    logs.txt ── blocks ──▶ indexer ──▶ the index, a SQLite file in the state directory
    q ── needle ──▶ candidate blocks ──▶ verified in the file ──▶ hits with snippets

The index holds no text. It is written by one process at idle priority, and can be deleted at any time.
"""
