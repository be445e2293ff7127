"""Commands on runs: into the recycle bin, out of it, and away for good. One implementation for server, SDK and CLI.

    recycling, purging   what happens to directories, and which events say so; without a server
    undoing              a command taken back, by the same commands
    on_store             the same for run ids, in a server: resolved by the read model, visible when it returns
    ids                  which ids are accepted, and which runs they mean

The event comes first, then the directory. Events of one command are one append. On one root, one command at a time.
"""
