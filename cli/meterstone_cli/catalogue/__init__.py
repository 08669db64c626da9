"""The catalogue as files: read, checked as a whole, compared with what is stored."""

from meterstone_cli.catalogue.catalogue import Catalogue
from meterstone_cli.catalogue.changes import Beginning, Changes
from meterstone_cli.catalogue.folder import Places, read_catalogue

__all__ = ["Beginning", "Catalogue", "Changes", "Places", "read_catalogue"]
