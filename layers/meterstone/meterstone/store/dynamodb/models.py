"""How botocore finds and reads its models: without looking into the folders of 400 services, and decoded faster.

A client is made out of botocore's JSON files: the service's model, the rules of its endpoint, the endpoints of all
services. Before botocore reads one of a service, it looks for it in the folders of all services. That is 2,700
system calls, and a third of making a client; decoding is another. Together they are a seventh of a cold start.

The files are botocore's own, of whichever version there is. Loaders and their ``file_loader`` are documented parts
of botocore. Objects become plain dictionaries: they keep the order of the file, as botocore's do.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, override
from zlib import decompress

import msgspec
from botocore.loaders import JSONFileLoader, Loader, create_loader

if TYPE_CHECKING:
    from botocore.session import Session

#: zlib's number for data with gzip's header.
_GZIPPED: Final = 31
_DECODER: Final = msgspec.json.Decoder()


class _Files(JSONFileLoader):
    @override
    def load_file(self, file_path: str) -> Any:
        """Read a file by its path without extension; None if there is none."""
        for extension in (".json", ".json.gz"):
            try:
                content = Path(file_path + extension).read_bytes()
            except FileNotFoundError:
                continue
            return _DECODER.decode(decompress(content, _GZIPPED) if extension == ".json.gz" else content)
        return None


class _Models(Loader):
    @override
    def list_available_services(self, type_name: str) -> list[str]:
        """List the folders of services, also of those that have no model of the type: reading it says so."""
        folders = [Path(path) for path in self.search_paths]
        return sorted({each.name for folder in folders if folder.is_dir() for each in folder.iterdir()})


def read_faster(session: "Session") -> None:
    """Have a session's models read so. For sessions that have made no client yet."""
    paths = create_loader(session.get_config_variable("data_path")).search_paths
    session.register_component(
        "data_loader", _Models(paths, file_loader=_Files(), include_default_search_paths=False)
    )
