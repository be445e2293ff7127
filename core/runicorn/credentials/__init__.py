"""Saved SSH connections and their secrets: encrypted at rest, and known outside of the server by reference only.

    key_file, keyring_key   where the key is
    encryption              text ↔ what is stored
    obfuscation             what 0.4.0 stored
    address                 what a connection is known by
    references              what clients are given in place of a secret
    connections             the entries of `config.json`

Nothing here logs a secret, puts one into an error, or shows one in a `repr`.
"""
