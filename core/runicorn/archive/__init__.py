"""Archives of runs: written by `runicorn export`, read by `runicorn import` and over HTTP.

An archive is a tar file, compressed with gzip or zstandard, or a zip file. Its paths are relative to the storage root,
`<project>/<name>/runs/<id>/…` and `runs/<id>/…`; beside them `runicorn.jsonl` holds what the store stream says about the
runs: tags, recycle bin, lost processes. 0.4.0 reads such archives, and ours are read from it.
"""

from runicorn.archive.errors import UnusableArchive
from runicorn.archive.events import RunImported
from runicorn.archive.exporting import ArchiveFormat, Exported, choose_runs, export_runs
from runicorn.archive.importing import Imported, import_archive
from runicorn.archive.limits import Limits, check_space
from runicorn.archive.staging import remove_stale_staging, staging_directory

__all__ = [
    "ArchiveFormat",
    "Exported",
    "Imported",
    "Limits",
    "RunImported",
    "UnusableArchive",
    "check_space",
    "choose_runs",
    "export_runs",
    "import_archive",
    "remove_stale_staging",
    "staging_directory",
]
